"""Real workers and beats send reports, doubled and killed as they may be: nobody ever has two for a period."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django_celery_beat.models import PeriodicTask

from config.beat import complete_rows, find_interval
from insights import tasks
from insights.models import OPEN_STATES, Report
from tests.crash.conftest import logs_of
from tests.crash.service import Service, tell, wait_until
from tests.crash.test_workers_that_die import children_of
from tests.insights.postbox import ANYBODY, Postbox, _Server
from tests.insights.reports import SENT, UNKNOWN, end_leases, make_due, make_team, states
from tests.plugin import Worker, neighbours

pytestmark = [pytest.mark.broker, pytest.mark.django_db(transaction=True)]

LONGEST_S = 120.0
KILLED_TIMES = 10


def addresses(count: int) -> list[str]:
    return [f"user{number}@example.com" for number in range(count)]


def nobody_waits() -> bool:
    return not Report.objects.filter(state__in=OPEN_STATES).exists()


def test_a_task_delivered_ten_times_sends_each_report_once(postbox: Postbox, celery_worker: Callable[..., Worker]):
    make_due(make_team(*addresses(25)))
    for _ in range(10):
        tasks.send_reports.delay()
    celery_worker(queues="mail", concurrency=2, environment=postbox.environment)
    wait_until(nobody_waits, LONGEST_S, "every report sent")
    assert set(states().values()) == {SENT}
    assert postbox.counts() == Counter(addresses(25))


@pytest.fixture
def service(request: pytest.FixtureRequest, broker: str, postbox: Postbox) -> Iterator[Service]:
    service = Service(neighbours, broker, postbox.environment, logs=logs_of(request))
    yield service
    service.close()


async def takes_its_time(server: _Server) -> str:
    await asyncio.sleep(0.05)
    return "250 taken"


@pytest.mark.ci
def test_with_two_beats_and_workers_that_are_killed_over_and_over_nobody_has_two(service: Service, postbox: Postbox):
    postbox.behaviours["text, taken", ANYBODY] = takes_its_time
    make_due(make_team(*addresses(200)))
    complete_rows(django_settings.CELERY_BEAT_SCHEDULE)
    PeriodicTask.objects.filter(name="send-reports").update(interval=find_interval(timedelta(seconds=1)))
    workers = [service.start_worker("mail", concurrency=2) for _ in range(2)]
    for _ in range(2):
        service.start_beat()
    dice, kills = random.Random(5), 0
    for _ in range(KILLED_TIMES):
        so_far = postbox.counts().total()
        wait_until(lambda so_far=so_far: postbox.counts().total() > so_far or nobody_waits(), LONGEST_S, "the middle")
        time.sleep(dice.uniform(0.0, 0.3))
        for worker in workers:  # one of them sends
            for pid in children_of(worker):
                os.kill(pid, signal.SIGKILL)
                kills += 1
        end_leases(Report.objects.filter(state="preparing"))

    wait_until(lambda: not Report.objects.filter(state="due").exists(), LONGEST_S, "the end of what is due")
    service.stop(*service.children)
    end_leases()
    with suppress(CommandError):  # it tells that some are of unknown fate
        call_command("send_reports")
    counts, ended = postbox.counts(), states()
    tell(f"{kills} kills: {Counter(ended.values())}; {counts.total()} mails for {len(ended)} users")
    assert set(ended.values()) <= {SENT, UNKNOWN}
    assert max(counts.values()) == 1
    assert {email for email, state in ended.items() if state == SENT} <= set(counts)
    assert Counter(ended.values())[UNKNOWN] <= kills
