"""What people decide about reports."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from insights.errors import LinkNotValid, ReportNotSendable
from insights.models import Report, ReportPreference, ReportState
from insights.periods import Frequency
from insights.reports.claims import TIME_TO_SEND_AGAIN
from insights.tokens import read_token

MAY_BE_SENT_AGAIN = (ReportState.UNKNOWN, ReportState.FAILED)


def find_preference(token: str) -> ReportPreference:
    """The choice that a mail's link is about. Raises LinkNotValid."""
    found = ReportPreference.objects.select_related("team").filter(pk=read_token(token)).first()
    if found is None:
        raise LinkNotValid("This link is not valid any more.")
    return found


def preference_of(user_id: UUID, team_id: UUID) -> ReportPreference:
    """The user's choice for that team; a row for it if there is none, so that links can be bound to it."""
    row = ReportPreference(user_id=user_id, team_id=team_id)
    ReportPreference.objects.bulk_create([row], ignore_conflicts=True)  # nobody's decision: the audit trail is not told
    return ReportPreference.objects.get(user_id=user_id, team_id=team_id)


def choose_frequency(preference: ReportPreference, frequency: Frequency) -> None:
    """From now on; a report that is on its way already is not held up, one that waits is."""
    preference.frequency = frequency.value
    preference.save(update_fields=["frequency", "updated_at"])


def send_again(report_id: UUID, *, by: str) -> None:
    """Let a report be sent once more, by somebody's word. Raises ReportNotSendable."""
    waiting = Report.objects.filter(Q(state__in=MAY_BE_SENT_AGAIN), pk=report_id)
    if not waiting.update(
        state=ReportState.DUE,
        act_after=Now(),
        send_until=timezone.now() + TIME_TO_SEND_AGAIN,
        attempts=0,
        sent_again_by=by[:320],
    ):
        raise ReportNotSendable("Only a report that failed, or whose fate is unknown, can be sent again.")
