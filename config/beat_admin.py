"""Beat's schedule in the admin: whether, and how often, what the settings name is done.

What is done is the code's business: the package's own pages would let whoever may change them call any task with any
arguments. Imported by the paths, after the package has registered its pages.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from auditlog.models import LogEntry
from celery.schedules import crontab
from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from config.beat import timing_of
from teams import audit
from teams.admin import OperatorAdmin
from teams.models import is_time_zone

UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
INTERVAL = re.compile(r"(\d{1,5}) ?(s|min|h|d)")
CRONTAB_PARTS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
LONGEST = timedelta(days=366)

for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(_model)


class PeriodicTaskForm(forms.ModelForm[PeriodicTask]):
    """Either an interval, or times as crontab writes them."""

    every = forms.CharField(
        max_length=12, required=False, widget=UnfoldAdminTextInputWidget, help_text="Such as 30 s, 10 min, 6 h or 1 d."
    )
    at = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Instead of an interval: minute, hour, day of the month, month and day of the week as crontab writes"
        " them. 0 6 * * 1 is Mondays at six.",
    )
    time_zone = forms.CharField(
        max_length=63,
        required=False,
        validators=[is_time_zone],
        widget=UnfoldAdminTextInputWidget,
        help_text="Of these times. Empty: UTC.",
    )

    class Meta:
        model = PeriodicTask
        fields = ["enabled"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        task: PeriodicTask = self.instance
        if task.interval:
            self.initial["every"] = describe_interval(task.interval)
        if task.crontab:
            self.initial["at"] = " ".join(getattr(task.crontab, part) for part in CRONTAB_PARTS)
            self.initial["time_zone"] = str(task.crontab.timezone)

    def clean_every(self) -> timedelta | None:
        text: str = self.cleaned_data["every"].strip()
        if not text:
            return None
        found = INTERVAL.fullmatch(text)
        every = timedelta(**{UNITS[found[2]]: int(found[1])}) if found else timedelta(0)
        if not timedelta(0) < every <= LONGEST:
            raise forms.ValidationError("Write a number and s, min, h or d; a year at most.")
        return every

    def clean_at(self) -> dict[str, str] | None:
        words = self.cleaned_data["at"].split()
        if not words:
            return None
        if len(words) != len(CRONTAB_PARTS):
            raise forms.ValidationError("Write five words; * stands for every one.")
        parts = dict(zip(CRONTAB_PARTS, words, strict=True))
        try:
            crontab(**parts)
        except Exception as error:  # its parser raises kinds of its own, and ValueErrors
            raise forms.ValidationError("This is not understood.") from error
        return parts

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and bool(cleaned["every"]) == bool(cleaned["at"]):
            raise forms.ValidationError("Fill in one of them: an interval, or times.")
        if not self.errors:
            self._set_timing(cleaned)
        return cleaned

    def _set_timing(self, cleaned: dict[str, Any]) -> None:
        if cleaned["every"]:
            values = timing_of(cleaned["every"])
        else:
            zone = cleaned["time_zone"] or "UTC"
            row = CrontabSchedule.objects.filter(**cleaned["at"], timezone=zone).first()
            row = row or CrontabSchedule.objects.create(**cleaned["at"], timezone=zone)
            values = {"interval": None, "crontab": row, "expire_seconds": None}
        for name, value in values.items():
            setattr(self.instance, name, value)


def describe_interval(interval: IntervalSchedule) -> str:
    every = timedelta(**{interval.period: interval.every})
    for unit, name in reversed(UNITS.items()):
        if every and not every % timedelta(**{name: 1}):
            return f"{every // timedelta(**{name: 1})} {unit}"
    return ""  # a part of a second, which only the environment can name


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(OperatorAdmin[PeriodicTask]):
    form = PeriodicTaskForm
    records_itself = True
    list_display = ["name", "description", "enabled", "interval", "crontab", "last_run_at", "total_run_count"]
    list_select_related = ["interval", "crontab"]
    list_filter = [("enabled", BooleanRadioFilter)]
    search_fields = ["name", "task"]
    fields = ["name", "description", "task", "enabled", "every", "at", "time_zone", "last_run_at", "total_run_count"]
    readonly_fields = ["name", "description", "task", "last_run_at", "total_run_count"]

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: Any, change: bool) -> None:
        """Recorded here: beat, too, saves its rows, every few minutes."""
        super().save_model(request, obj, form, change)
        written = {**form.data.dict(), "enabled": obj.enabled}
        changes = {name: [form.initial.get(name, ""), written.get(name, "")] for name in form.changed_data}
        if changes:
            audit.record(obj, LogEntry.Action.UPDATE, changes)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """It would come back."""
        return False
