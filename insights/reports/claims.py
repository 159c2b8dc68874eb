"""Who works on a report, and how far it is: states of its row, changed by conditional updates alone.

    due ──claim──> preparing ──354──> handing over ──250──> sent
     ^                │                  │   └─no answer, or nobody noted it──> unknown ─┐
     └──refused for now, released,───────┘                                    failed ────┤
     │  the lease ended (preparing)            refused for good, too late ──────^        │
     └─────────────────────────────── an operator sends it again ────────────────────────┘
                      preparing ──unsubscribed, left the team, nothing to tell──> skipped

A report is handed over only after "handing over" was committed, and from there no way leads back to "due" but an answer
of the mail server that it did not take the mail. So whoever is killed, wherever, no mail is handed over twice.

`act_after` is the end of the claimant's lease, and names the claim: whoever lost it changes nothing more.
`attempts` counts claims; what is no fault of the report's gives its attempt back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from insights.models import DEFAULT, Report, ReportPreference, ReportState
from teams.models import User

# Longer than any task may run (CELERY_TASK_TIME_LIMIT), so that the claimant is gone when another one may claim.
LEASE = timedelta(seconds=150)
RETRY_PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180))
MAX_ATTEMPTS = len(RETRY_PAUSES) + 1
TIME_TO_SEND_AGAIN = timedelta(days=3)
MAX_ERROR_LENGTH = 500
# Handed over by this claim; that its lease ended meanwhile (`note_stale`) does not change what the mail server said.
_GIVEN = (ReportState.HANDING_OVER, ReportState.UNKNOWN)


class ClaimLost(Exception):
    """The lease ran out, or an operator did something to the report."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send one report, until the lease ends. `report` is the row as it was claimed."""

    report: Report

    @property
    def is_one_too_many(self) -> bool:
        """Whether all its attempts were begun, and none came to an end: it may be what ends its workers."""
        return self.report.attempts > MAX_ATTEMPTS

    def begin_handing_over(self, default_frequency: str) -> bool:
        """Write down that from now on nobody may send this report again; False when it is not wanted any more.

        To be committed before the first byte of the mail is handed over. Raises ClaimLost.
        """
        if self._mine().filter(wanted(default_frequency)).update(state=ReportState.HANDING_OVER):
            return True
        if self._mine().exists():
            return False
        raise ClaimLost

    def note_sent(self) -> None:
        """The mail server has taken it. Raises ClaimLost."""
        self._end(*_GIVEN, state=ReportState.SENT, sent_at=Now())

    def note_unknown(self, error: str) -> None:
        """It may have been taken. Raises ClaimLost."""
        self._end(*_GIVEN, state=ReportState.UNKNOWN, error=error)

    def retry(self, error: str) -> bool:
        """It was refused for now: try again after a pause; False when this was the last attempt, and it has failed.

        Raises ClaimLost.
        """
        if self.report.attempts >= MAX_ATTEMPTS:
            self.fail(error)
            return False
        self._end(
            ReportState.PREPARING,
            *_GIVEN,
            state=ReportState.DUE,
            error=error,
            pause=RETRY_PAUSES[self.report.attempts - 1],
        )
        return True

    def fail(self, error: str) -> None:
        """It will never be taken. Raises ClaimLost."""
        self._end(ReportState.PREPARING, *_GIVEN, state=ReportState.FAILED, error=error)

    def skip(self, reason: str) -> None:
        """Nobody wants it, or it has nothing to tell. Raises ClaimLost."""
        self._end(ReportState.PREPARING, state=ReportState.SKIPPED, error=reason)

    def release(self, error: str = "") -> None:
        """Let others have it at once: it was not taken, by no fault of its own. Does nothing when the claim is lost."""
        values = {"error": error[:MAX_ERROR_LENGTH]} if error else {}
        held = self._of_claim(ReportState.PREPARING, *_GIVEN)
        held.update(state=ReportState.DUE, act_after=Now(), attempts=F("attempts") - 1, **values)

    def _end(self, *states: str, state: str, error: str = "", pause: timedelta = timedelta(0), **values: Any) -> None:
        values |= {"state": state, "error": error[:MAX_ERROR_LENGTH], "act_after": Now() + pause}
        if not self._of_claim(*states).update(**values):
            raise ClaimLost

    def _mine(self) -> QuerySet[Report]:
        return self._of_claim(ReportState.PREPARING)

    def _of_claim(self, *states: str) -> QuerySet[Report]:
        return Report.objects.filter(pk=self.report.pk, act_after=self.report.act_after, state__in=states)


def claim_reports(limit: int) -> list[Claim]:
    """Take reports that are due, those of the same team and period one after another: their figures are the same.

    What was tried before comes after all that was not: however many there are of it, it holds up nobody.
    A claim that was never ended, by one who was killed before anything was handed over, may be taken after its lease.
    """
    with transaction.atomic():
        chosen = (
            claimable()
            .select_for_update(skip_locked=True)
            .order_by("attempts", "team_id", "frequency", "period_start", "pk")
        )
        taken = list(chosen.values_list("pk", flat=True)[:limit])
        Report.objects.filter(pk__in=taken).update(
            state=ReportState.PREPARING, act_after=Now() + LEASE, attempts=F("attempts") + 1
        )
    rows = Report.objects.select_related("user", "team").in_bulk(taken)
    return [Claim(rows[pk]) for pk in taken if pk in rows]


def claimable() -> QuerySet[Report]:
    return Report.objects.filter(
        state__in=[ReportState.DUE, ReportState.PREPARING], act_after__lte=Now(), send_until__gt=Now()
    )


def wanted(default_frequency: str) -> Combinable | Q:
    """What makes that a report is sent still: an active user, of the team, who wants reports so often."""
    membership = User.teams.through.objects.filter(
        user_id=OuterRef("user_id"), team_id=OuterRef("team_id"), team__deleted_at=None
    )
    active = User.objects.filter(pk=OuterRef("user_id"), is_active=True)
    chosen = ReportPreference.objects.filter(user_id=OuterRef("user_id"), team_id=OuterRef("team_id"))
    same = Exists(chosen.filter(frequency=OuterRef("frequency")))
    by_default = Q(frequency=default_frequency) & ~Exists(chosen.exclude(frequency=DEFAULT))
    return Q(Exists(membership)) & Exists(active) & (Q(same) | by_default)


@transaction.atomic
def note_stale() -> int:
    """Reports that nobody noted to be sent, whose sender is gone: their fate is unknown. How many there were."""
    stale = _take(Report.objects.filter(state=ReportState.HANDING_OVER, act_after__lte=Now()))
    return stale.update(
        state=ReportState.UNKNOWN, error="It was being handed over when its sender ended: it may have been sent."
    )


@transaction.atomic
def note_late() -> int:
    """Reports whose time has passed. How many there were."""
    open_states = [ReportState.DUE, ReportState.PREPARING]
    late = _take(Report.objects.filter(state__in=open_states, act_after__lte=Now(), send_until__lte=Now()))
    late.filter(error="").update(error="It could not be sent in time.")
    return late.update(state=ReportState.FAILED)


def _take(reports: QuerySet[Report]) -> QuerySet[Report]:
    """Those of them that nobody else is changing, locked: who waited for rows of others could wait in a ring."""
    locked = reports.select_for_update(skip_locked=True).values_list("pk", flat=True)
    return Report.objects.filter(pk__in=list(locked))
