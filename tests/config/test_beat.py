"""Beat's schedule stands in rows that the admin changes, and beat outlasts the database that they stand in."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import psycopg2
import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from config import beat
from config.beat import TableScheduler, complete_rows
from config.celery import app
from tests.categorisation.two_connections import on_another_connection
from tests.crash.conftest import logs_of
from tests.crash.service import Service, wait_until
from tests.plugin import neighbours

pytestmark = pytest.mark.django_db

NAMES = {"sweep-unlabelled-threads", "plan-runs", "sweep-unindexed-documents"}
PLAN = "categorisation.tasks.plan"


def entry(task: str = PLAN, seconds: float = 5.0) -> dict[str, object]:
    return {"task": task, "schedule": timedelta(seconds=seconds), "description": "Plans."}


def the_row(name: str = "plan-runs") -> PeriodicTask:
    return PeriodicTask.objects.get(name=name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass for the scheduler."""
    passed = [0.0]
    monotonic = time.monotonic
    monkeypatch.setattr(beat.time, "monotonic", lambda: monotonic() + passed[0])

    def let_pass(seconds: float) -> None:
        passed[0] += seconds

    return let_pass


@pytest.fixture
def environment_names(settings: pytest.FixtureRequest) -> Callable[..., None]:
    """As if these settings, and no others, stood in the environment."""

    def name(*names: str) -> None:
        copy = django_settings.ENVIRONMENT.model_copy()
        copy.__pydantic_fields_set__ = set(names)
        settings.ENVIRONMENT = copy

    return name


def test_everything_that_the_settings_name_is_scheduled(transactional_db: None):
    read = TableScheduler(app=app).schedule
    assert set(read) >= NAMES
    for name, made in django_settings.CELERY_BEAT_SCHEDULE.items():
        assert read[name].task == made["task"]
        assert read[name].schedule.run_every == made["schedule"]
        assert read[name].options["expires"] == made["schedule"].total_seconds()
        assert the_row(name).description == made["description"]


def test_what_was_changed_in_the_admin_outlasts_a_restart(environment_names: Callable[..., None]):
    environment_names()
    complete_rows({"plan-runs": entry(seconds=5)})
    row = the_row()
    row.interval = IntervalSchedule.objects.create(every=7, period=IntervalSchedule.MINUTES)
    row.enabled = False
    row.save()
    complete_rows({"plan-runs": entry(seconds=5)})
    assert (the_row().interval, the_row().enabled) == (row.interval, False)


def test_an_interval_that_the_environment_names_holds(environment_names: Callable[..., None]):
    environment_names("planner_interval_s")
    complete_rows({"plan-runs": entry(seconds=5), "other": entry(seconds=5)})
    crontab = CrontabSchedule.objects.create(hour="3")
    PeriodicTask.objects.update(interval=None, crontab=crontab)
    complete_rows({"plan-runs": entry(seconds=9), "other": entry(seconds=9)})
    assert (the_row().interval.every, the_row().crontab) == (9, None)
    assert (the_row("other").interval, the_row("other").crontab) == (None, crontab)


def test_what_a_new_version_calls_by_another_name_is_called_by_that_one():
    complete_rows({"plan-runs": entry(task="categorisation.tasks.before")})
    complete_rows({"plan-runs": entry()})
    assert the_row().task == PLAN


def test_an_interval_of_half_a_second_is_one():
    """As seconds in a whole number it would be none, and beat would send without a pause."""
    complete_rows({"plan-runs": entry(seconds=0.5)})
    assert the_row().schedule.run_every == timedelta(seconds=0.5)
    assert the_row().expire_seconds == 1


def test_beats_that_begin_together_make_each_row_once(transactional_db: None):
    on_another_connection(lambda: complete_rows({"plan-runs": entry()}))
    complete_rows({"plan-runs": entry()})
    assert PeriodicTask.objects.count() == IntervalSchedule.objects.count() == 1
    change = PeriodicTasks.last_change()
    complete_rows({"plan-runs": entry()})
    assert PeriodicTasks.last_change() == change, "nothing changed, so nobody has to read anew"


def test_a_change_is_seen_within_seconds_and_what_is_deleted_comes_back(
    transactional_db: None, clock: Callable[[float], None]
):
    scheduler = TableScheduler(app=app)
    assert scheduler.schedule["sweep-unindexed-documents"].schedule.run_every == timedelta(seconds=30)
    IntervalSchedule.objects.filter(every=30).update(every=45)
    PeriodicTasks.update_changed()
    the_row("plan-runs").delete()
    clock(beat.LOOKS_EVERY_S)
    assert scheduler.schedule["sweep-unindexed-documents"].schedule.run_every == timedelta(seconds=45)
    assert "plan-runs" in scheduler.schedule


def test_what_is_due_is_sent_once(
    transactional_db: None, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
):
    complete_rows(django_settings.CELERY_BEAT_SCHEDULE)
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(days=2))
    scheduler, sent = TableScheduler(app=app), list[str]()
    monkeypatch.setattr(scheduler, "apply_entry", lambda entry, producer: sent.append(entry.name))
    monkeypatch.setattr(TableScheduler, "producer", None)
    for _ in range(2):
        for _ in range(20):
            scheduler.tick()
        assert sorted(sent) == sorted(django_settings.CELERY_BEAT_SCHEDULE)
        PeriodicTasks.update_changed()
        clock(beat.LOOKS_EVERY_S)


def test_a_row_that_cannot_be_scheduled_holds_up_no_other(transactional_db: None):
    complete_rows({"broken": entry()})
    PeriodicTask.objects.filter(name="broken").update(interval=None)
    assert set(TableScheduler(app=app).schedule) >= NAMES


def test_what_was_due_while_beat_was_down_is_due_still(transactional_db: None):
    """The package's own reading leaves out what is planned for hours that are not near."""
    every_hour = [CrontabSchedule.objects.create(minute="0", hour=str(hour)) for hour in range(24)]
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"at {crontab.hour}", task=PLAN, crontab=crontab) for crontab in every_hour
    )
    assert len(TableScheduler(app=app).schedule) == 24 + len(django_settings.CELERY_BEAT_SCHEDULE)


@contextmanager
def closed_to_everybody() -> Iterator[None]:
    """The database drops whoever is in, but for this connection, and lets nobody in any more."""
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (ours,) = cursor.fetchone()
    with closing(psycopg2.connect(os.environ["DATABASE_URL"])) as elsewhere, elsewhere.cursor() as cursor:
        elsewhere.autocommit = True
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        try:
            everybody = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"
            cursor.execute(everybody, [name, ours])
            yield
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')


def test_while_the_database_is_down_the_schedule_that_was_read_holds(
    transactional_db: None, clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
):
    def look_twice() -> set[str]:
        clock(beat.READS_EVERY_S)
        assert scheduler.schedule is scheduler.schedule
        clock(beat.READS_EVERY_S)
        return set(scheduler.schedule)

    def begin() -> set[str]:
        return set(TableScheduler(app=app).schedule)

    scheduler = TableScheduler(app=app)
    assert set(scheduler.schedule) == set(django_settings.CELERY_BEAT_SCHEDULE)
    with closed_to_everybody():
        assert on_another_connection(look_twice) == set(django_settings.CELERY_BEAT_SCHEDULE)
        assert on_another_connection(begin) == set()
    assert len(caplog.records) == 2, "one line for each beat, however long it lasts"
    PeriodicTask.objects.filter(name="plan-runs").update(enabled=False)
    assert "plan-runs" not in on_another_connection(look_twice)
    connections.close_all()


@pytest.mark.ci
@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_a_beat_begins_without_its_database_and_outlasts_its_end(request: pytest.FixtureRequest, broker: str):
    service = Service(neighbours, broker, {"PLANNER_INTERVAL_S": "1"}, logs=logs_of(request))
    try:
        with closed_to_everybody():
            child = service.start_beat()
            log = child.command.log_path
            wait_until(lambda: "cannot be read" in log.read_text(), 30, "it was told")
        wait_until(lambda: sent(log.read_text()) >= 4, 30, "it sends when the database is back")
        with closed_to_everybody():
            before, begun = sent(log.read_text()), time.monotonic()
            wait_until(lambda: log.read_text().count("cannot be read") == 2, 30, "it was told")
            wait_until(lambda: sent(log.read_text()) >= before + 8, 30, "it goes on at its pace")
            took_s = time.monotonic() - begun
        assert child.exit_code() is None
        assert 7 <= took_s < 12, "a second each"
    finally:
        service.close()


def sent(log: str) -> int:
    return log.count(f"Sending due task plan-runs ({PLAN})")
