"""Which conversations are erased: of a person, of a project, of a certain age, or all there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Lower, Trim
from django.utils.crypto import salted_hmac

from query.models import Erasure, Thread

SALT = "query.criteria"


@dataclass(frozen=True, slots=True)
class Criterion:
    """What a conversation has to meet: all that is given, and of `email` and `client_id` either.

    `email` is compared without regard to case, both without space around them. `idle_since`: begun, and last asked in,
    before that time. `begun_before` leaves out what is begun while the others are being erased. Given nothing, it is
    met by every conversation.
    """

    project_id: UUID | None = None
    email: str = ""
    client_id: str = ""
    idle_since: datetime | None = None
    begun_before: datetime | None = None

    @classmethod
    def of(cls, erasure: Erasure) -> Criterion:
        """What an erasure that is open is about. What is asked in a deleted project's last moments goes, too."""
        is_of_project = erasure.reason == erasure.Reason.PROJECT_DELETED
        return cls(
            project_id=erasure.project_id,
            email=erasure.user_email,
            client_id=erasure.user_unique_client_id,
            idle_since=erasure.idle_since,
            begun_before=None if is_of_project else erasure.started_at,
        )

    @property
    def names_somebody(self) -> bool:
        return bool(self.email.strip() or self.client_id.strip())

    @property
    def is_met_by_all(self) -> bool:
        return not (self.names_somebody or self.project_id or self.idle_since)

    def find_threads(self) -> QuerySet[Thread]:
        """The conversations that meet it, in no order."""
        threads = Thread.objects.filter(self._about_rows()).order_by()
        if not self.names_somebody:
            return threads
        return threads.alias(email=Lower(Trim("user_email")), client_id=Trim("user_unique_client_id")).filter(
            self._about_person()
        )

    def digests(self, secret: str | None = None) -> dict[str, str]:
        """By which an erasure is recognised by whoever knows whose conversations it was about, and by nobody else.

        Keyed by SECRET_KEY, or by another secret: of a plain hash of an address, the address is soon guessed.
        """
        return {
            "user_email_digest": _digest("email", self.email.strip().lower(), secret),
            "user_unique_client_id_digest": _digest("client id", self.client_id.strip(), secret),
        }

    def find_earlier_erasures(self) -> QuerySet[Erasure]:
        """Erasures of the same person's conversations, newest first, as far back as SECRET_KEY and its fallbacks go."""
        same = Q(pk=None)
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            for name, digest in self.digests(secret).items():
                same |= Q(**{name: digest}) if digest else Q()
        return Erasure.objects.filter(same)

    def _about_rows(self) -> Q:
        wanted: dict[str, Any] = {}
        if self.project_id is not None:
            wanted["project_id"] = self.project_id
        if self.idle_since is not None:
            wanted["last_activity_at__lt"] = self.idle_since
        # nothing is asked before a conversation begins: the older of both times has an index
        times = [time for time in (self.idle_since, self.begun_before) if time is not None]
        if times:
            wanted["created_at__lt"] = min(times)
        return Q(**wanted)

    def _about_person(self) -> Q:
        either = Q()
        if self.email.strip():
            either |= Q(email=Lower(Value(self.email.strip())))
        if self.client_id.strip():
            either |= Q(client_id=self.client_id.strip())
        return either


def _digest(what: str, text: str, secret: str | None) -> str:
    return salted_hmac(f"{SALT}: {what}", text, secret=secret, algorithm="sha256").hexdigest() if text else ""
