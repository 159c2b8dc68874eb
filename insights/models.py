"""Who wants reports how often, and what became of each report."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from insights.periods import Frequency
from teams.models import Team

FREQUENCIES = [
    (Frequency.DAILY.value, "every day"),
    (Frequency.WEEKLY.value, "every week"),
    (Frequency.BIWEEKLY.value, "every two weeks"),
    (Frequency.MONTHLY.value, "every month"),
    (Frequency.OFF.value, "never"),
]
DEFAULT = ""


class ReportPreference(models.Model):
    """How often a user wants reports on one of their teams. Without a row it is as the service does by default.

    Its id, signed, is what the links in a mail hold: it tells nothing of user or team.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="report_preferences",
        db_index=False,  # the constraint's index begins with it
    )
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="report_preferences")
    frequency = models.CharField(
        max_length=10,
        choices=[(DEFAULT, "as the service does by default"), *FREQUENCIES],
        blank=True,
        default=DEFAULT,
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "team"],
                name="report_preference_of_user_and_team",
                violation_error_message="This user's choice for this team is there already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_frequency_display()}"


class ReportState(models.TextChoices):
    """Where a report stands."""

    DUE = "due"
    PREPARING = "preparing"
    HANDING_OVER = "handing_over", "being handed over"
    SENT = "sent"
    UNKNOWN = "unknown", "fate unknown"
    FAILED = "failed"
    SKIPPED = "skipped"


# those that somebody has yet to do something with
OPEN_STATES = (ReportState.DUE, ReportState.PREPARING, ReportState.HANDING_OVER)


class Report(models.Model):
    """One mail to one user about one team and period. Its row is the record of whether it was sent (reports/claims.py).

    `act_after` says from when it may be claimed, or when the lease of whoever holds it ends; `send_until` from when it
    is too late. `period_start` and `period_end` are days by the clocks of `time_zone`; the end is no part of it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="reports",
        db_index=False,  # the constraint's index begins with it
    )
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="reports")
    frequency = models.CharField(max_length=10, choices=FREQUENCIES)
    period_start = models.DateField()
    period_end = models.DateField()
    time_zone = models.CharField(max_length=64)

    state = models.CharField(max_length=12, choices=ReportState.choices, default=ReportState.DUE)
    act_after = models.DateTimeField(db_default=Now())
    send_until = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.CharField("what happened", max_length=500, blank=True, default="")
    sent_again_by = models.CharField(max_length=320, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["user", "team", "frequency", "period_start"], name="report_once_a_period"),
            models.CheckConstraint(
                condition=Q(state="sent", sent_at__isnull=False) | (~Q(state="sent") & Q(sent_at=None)),
                name="report_sent_has_its_time",
            ),
        ]
        indexes = [
            models.Index(
                fields=["act_after"],
                condition=Q(state__in=["due", "preparing", "handing_over"]),
                name="report_open",
            ),
            models.Index(F("state"), F("created_at").desc(), name="report_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.frequency} from {self.period_start}"

    @property
    def message_key(self) -> uuid.UUID:
        """What its mail is known by, also when the row was lost with a database that was restored."""
        return uuid.uuid5(self.user_id, f"{self.team_id} {self.frequency} {self.period_start}")
