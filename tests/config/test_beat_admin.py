"""The schedule's page in the admin says how often, in words that people write."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks

from config.beat import complete_rows
from tests.factories.teams import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def row() -> PeriodicTask:
    complete_rows(django_settings.CELERY_BEAT_SCHEDULE)
    return PeriodicTask.objects.get(name="sweep-unindexed-documents")


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


def change(browser: Client, row: PeriodicTask, **form: str) -> str:
    """What the page says of the form, or nothing when it is taken."""
    answer = browser.post(f"/admin/django_celery_beat/periodictask/{row.pk}/change/", {"enabled": "on", **form})
    row.refresh_from_db()
    return answer.content.decode()


def test_the_page_shows_the_interval_as_it_is_written(browser: Client, row: PeriodicTask):
    page = browser.get(f"/admin/django_celery_beat/periodictask/{row.pk}/change/").content.decode()
    assert 'value="30 s"' in page
    assert "knowledge.tasks.sweep_documents" in page


@pytest.mark.parametrize(
    ("written", "seconds", "shown"),
    [
        ("45 s", 45, "45 s"),
        ("90s", 90, "90 s"),
        ("120 s", 120, "2 min"),
        ("36 h", 129_600, "36 h"),
        ("7 d", 604_800, "7 d"),
    ],
)
def test_an_interval_is_set(browser: Client, row: PeriodicTask, written: str, seconds: int, shown: str):
    before = PeriodicTasks.last_change()
    assert change(browser, row, every=written) == ""
    assert row.schedule.run_every.total_seconds() == row.expire_seconds == seconds
    assert PeriodicTasks.last_change() > before, "beat reads it"
    page = browser.get(f"/admin/django_celery_beat/periodictask/{row.pk}/change/").content.decode()
    assert f'value="{shown}"' in page


def test_times_are_set_and_an_interval_again(browser: Client, row: PeriodicTask):
    assert change(browser, row, at="0 6 * * 1", time_zone="Europe/Zurich") == ""
    assert (row.interval, row.crontab.day_of_week, str(row.crontab.timezone)) == (None, "1", "Europe/Zurich")
    assert change(browser, row, at="0 6 * * 1", time_zone="Europe/Zurich") == ""
    assert CrontabSchedule.objects.count() == 1
    page = browser.get(f"/admin/django_celery_beat/periodictask/{row.pk}/change/").content.decode()
    assert 'value="0 6 * * 1"' in page
    assert 'value="Europe/Zurich"' in page
    assert change(browser, row, every="1 d") == ""
    assert row.crontab is None


def test_it_is_switched_off_and_on(browser: Client, row: PeriodicTask):
    change(browser, row, enabled="", every="30 s")
    assert not row.enabled
    change(browser, row, every="30 s")
    assert row.enabled


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({}, "Fill in one of them"),
        ({"every": "1 h", "at": "0 6 * * 1"}, "Fill in one of them"),
        ({"every": "0 s"}, "Write a number"),
        ({"every": "often"}, "Write a number"),
        ({"every": "400 d"}, "Write a number"),
        ({"at": "0 6 * *"}, "Write five words"),
        ({"at": "0 25 * * *"}, "This is not understood"),
        ({"at": "0 6 * * 1", "time_zone": "Europe/Nowhere"}, "is not a time zone"),
    ],
)
def test_what_is_not_understood_is_told(browser: Client, row: PeriodicTask, form: dict[str, str], told: str):
    assert told in change(browser, row, **form)
    assert row.schedule.run_every.total_seconds() == 30
