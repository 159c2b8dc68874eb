"""Beat's schedule: rows that the admin changes, begun from the settings.

`CELERY_BEAT_SCHEDULE` names what there is to be done, and how often unless somebody says otherwise. A row keeps what
was changed in it; but it comes back when it is deleted, and an interval that the environment names is what it says
there. Whatever becomes of the database, beat goes on with the schedule that it read last.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery import Celery
from django.conf import settings
from django.db import Error, close_old_connections
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler

logger = logging.getLogger(__name__)

LOOKS_EVERY_S = 5.0
READS_EVERY_S = 300.0  # although nobody told of a change: two beats see by it when the other one has sent
SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)
# entries whose interval the environment may name, and the setting that does
NAMED_BY = {"plan-runs": "planner_interval_s", "sweep-unlabelled-threads": "sweeper_interval_s"}


class TableScheduler(DatabaseScheduler):  # type: ignore[misc]  # neither celery nor this package has types
    """django-celery-beat's scheduler, which outlasts its database, and leaves people's changes alone."""

    def __init__(self, app: Celery, *args: Any, **kwargs: Any) -> None:
        self._is_cut_off = False
        self._looks_at = self._reads_at = 0.0
        self._seen_change: object = None
        self._schedule: dict[str, Any] = {}
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Nothing: the first tick reads it, or one after it, when the database does not answer yet."""

    @property
    def schedule(self) -> dict[str, Any]:
        if time.monotonic() >= self._looks_at:
            try:
                self._look()
            except Error as error:
                if not self._is_cut_off:
                    logger.warning(
                        "the schedule cannot be read (%s); what was read last holds on", type(error).__name__
                    )
                self._is_cut_off = True
            else:
                self._is_cut_off = False
            self._looks_at = time.monotonic() + LOOKS_EVERY_S
        return self._schedule

    def enabled_models_qs(self) -> Any:
        """All of them: leaving out what is not due for hours would forget what was due while beat was down."""
        return PeriodicTask.objects.filter(enabled=True).select_related("interval", "crontab", "solar", "clocked")

    def all_as_schedule(self) -> dict[str, Any]:
        read = {}
        for row in self.enabled_models():
            try:
                read[row.name] = self.Entry(row, app=self.app)
            except Error:
                raise
            except Exception:  # whatever is wrong with a row that somebody made, the others go on
                logger.exception("%s cannot be scheduled", row.name)
        return read

    def _look(self) -> None:
        """Read the schedule anew when somebody changed it. Raises django.db.Error."""
        close_old_connections()
        if PeriodicTasks.last_change() == self._seen_change and time.monotonic() < self._reads_at:
            return
        complete_rows(self.app.conf.beat_schedule)
        change = PeriodicTasks.last_change()
        self.sync()
        self._schedule = self.all_as_schedule()
        self._seen_change = change
        self._reads_at = time.monotonic() + READS_EVERY_S
        # where there is no heap yet, it is made of this; made twice, what is due would be sent twice
        self._heap_invalidated = self._heap is not None


def complete_rows(entries: Mapping[str, dict[str, Any]]) -> None:
    """Make the rows that are missing, and let the others call what the code now has in their place."""
    named = settings.ENVIRONMENT.model_fields_set
    present = set(PeriodicTask.objects.values_list("name", flat=True))
    has_changed = False
    for name, entry in entries.items():
        if name not in present:
            row = PeriodicTask(
                name=name, task=entry["task"], description=entry["description"], **timing_of(entry["schedule"])
            )
            PeriodicTask.objects.bulk_create([row], ignore_conflicts=True)  # another beat may do so at this moment
            has_changed = True
        fixed = {"task": entry["task"]} | (timing_of(entry["schedule"]) if NAMED_BY.get(name) in named else {})
        has_changed |= bool(PeriodicTask.objects.filter(name=name).exclude(**fixed).update(**fixed))
    if has_changed:
        PeriodicTasks.update_changed()


def timing_of(every: timedelta) -> dict[str, Any]:
    """A row's columns for what is to be done so often."""
    return {
        "interval": find_interval(every),
        "crontab": None,
        "solar": None,
        "clocked": None,
        # a message that nobody took before the next one comes is worth nothing
        "expire_seconds": max(1, math.ceil(every.total_seconds())),
    }


def find_interval(every: timedelta) -> IntervalSchedule:
    """The row of that interval, made if there is none."""
    unit, period = SECOND, IntervalSchedule.SECONDS
    if every % SECOND:
        unit, period = MICROSECOND, IntervalSchedule.MICROSECONDS
    found = IntervalSchedule.objects.filter(every=every // unit, period=period).first()
    return found or IntervalSchedule.objects.create(every=every // unit, period=period)
