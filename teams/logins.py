"""Logging in by e-mail address and password, as often as a person mistypes, and not as often as a program guesses.

Attempts are counted before the password is looked at, by what they try and where they come from: an account from one
address, and one address whatever it tries. There is no limit for an account from anywhere: anyone could use it up, and
so keep its owner out.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone

from teams import rates
from teams.errors import TooManyLogins
from teams.models import LoginBucket, User

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """At once so many, and then one whenever a window's share of time has passed."""

    attempts: int
    window_s: float


OF_ACCOUNT_FROM_ADDRESS = Limit(attempts=10, window_s=600.0)
OF_ADDRESS = Limit(attempts=60, window_s=600.0)
IPV6_OF_ONE_HOLDER = 64  # bits of the network that one customer has at least, and can draw addresses from


class LimitedBackend(ModelBackend):
    """Django's, whose attempts are counted. Without a request, in a shell, nothing is."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Raises TooManyLogins."""
        account = username if username is not None else kwargs.get(User.USERNAME_FIELD)
        if request is None or account is None or password is None:
            return self._authenticate(request, username, password, **kwargs)
        origin = find_origin(request)
        subjects = {name_subject(origin): OF_ADDRESS, name_subject(origin, account): OF_ACCOUNT_FROM_ADDRESS}
        for subject, limit in subjects.items():
            _count(subject, limit, origin)
        user = self._authenticate(request, username, password, **kwargs)
        if user is not None:
            LoginBucket.objects.filter(subject=name_subject(origin, account)).delete()  # begins anew
        return user

    def _authenticate(
        self, request: HttpRequest | None, username: str | None, password: str | None, **kwargs: Any
    ) -> User | None:
        user = super().authenticate(request, username=username, password=password, **kwargs)
        return user if isinstance(user, User) else None


def find_origin(request: HttpRequest) -> str:
    """The caller's address, or the network that its holder draws addresses from."""
    text = request.META.get("REMOTE_ADDR", "")
    try:
        address = ip_address(text)
    except ValueError:
        return str(text)
    return str(ip_network((address, IPV6_OF_ONE_HOLDER), strict=False)) if address.version == 6 else str(address)


def name_subject(origin: str, account: str = "") -> str:
    """Whose attempts are counted, without keeping who that is."""
    return hashlib.sha256(f"{origin}\0{account.strip().casefold()}".encode("utf-8", "replace")).hexdigest()


def _count(subject: str, limit: Limit, origin: str) -> None:
    taken = rates.take(rates.LOGINS, subject, limit=limit.attempts, window_s=limit.window_s)
    if not taken.is_allowed:
        logger.warning("too many attempts to log in from %s", origin)
        raise TooManyLogins(taken.retry_after_s)


def forget_expired() -> None:
    """Delete the sessions that nobody can use any more, and the counts that no longer count."""
    now = timezone.now()
    Session.objects.filter(expire_date__lt=now).delete()
    LoginBucket.objects.filter(empty_at__lt=now).delete()
