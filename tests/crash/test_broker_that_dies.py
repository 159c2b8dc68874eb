"""The broker dies while classifications are under way: workers outlast it, and what they have in hand is labelled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import current_app
from django.db.models.functions import Now

from categorisation import tasks
from query.models import Thread
from query.signals import thread_started
from teams.models import Project
from tests.crash.conftest import logs_of
from tests.crash.counting import NOTES, SECONDS, read_notes
from tests.crash.service import Service, tell, wait_until
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.faults.brokers import Broker
from tests.faults.proxy import FaultyProxy
from tests.plugin import neighbours

pytestmark = [pytest.mark.broker, pytest.mark.django_db(transaction=True)]

CALL_S = 3.0
ALARM_S = 3.0
SWEEP_S = 60.0


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def proxy(own_broker: Broker) -> Iterator[FaultyProxy]:
    with FaultyProxy(own_broker.address) as proxy:
        yield proxy


@pytest.fixture
def environment(notes: Path) -> dict[str, str]:
    return {
        "CLASSIFIER": "tests.crash.counting.CountingClassifier",
        NOTES: str(notes),
        SECONDS: str(CALL_S),
        "SWEEPER_INTERVAL_S": "1",  # leases are as long as they are by default
    }


@pytest.mark.parametrize("fault", ["killed", pytest.param("connections cut", marks=pytest.mark.ci)])
def test_check_03_what_is_under_way_when_the_broker_dies_is_labelled_by_the_same_calls(
    request: pytest.FixtureRequest,
    own_broker: Broker,
    proxy: FaultyProxy,
    environment: dict[str, str],
    notes: Path,
    project_in_hand: Project,
    fault: str,
):
    url = own_broker.url if fault == "killed" else own_broker.url_at(proxy.port)
    service = Service(neighbours, url, environment, logs=logs_of(request))
    request.addfinalizer(service.close)
    worker = service.start_worker("live", concurrency=2)
    service.start_beat()
    in_hand = Thread.objects.filter(category_source=None, classify_after__gt=Now())
    for thread in Thread.objects.filter(project=project_in_hand):
        thread_started.send_robust(sender=Thread, thread_id=thread.pk)
    wait_until(in_hand.exists, SWEEP_S, "calls under way")
    make_ill, make_well = _faults(own_broker, proxy)[fault]
    make_ill()
    ThreadFactory.create_batch(5, project=project_in_hand)
    make_well()
    unlabelled = Thread.objects.filter(category_source=None)
    took_s = wait_until(lambda: not unlabelled.exists(), SWEEP_S, "every thread labelled")
    tell(f"the broker {fault} with calls under way: all labelled {took_s:.1f} s after it was back")
    ThreadFactory(project=project_in_hand)  # a worker that shuts down would still have ended what it had
    wait_until(lambda: not unlabelled.exists(), SWEEP_S, "a thread that came later labelled")
    assert worker.exit_code() is None, "the worker ended with its broker"
    assert set(read_notes(notes).values()) == {1}


@pytest.mark.ci
def test_check_03_a_worker_that_takes_a_message_from_a_broker_in_alarm_outlasts_it(
    request: pytest.FixtureRequest, own_broker: Broker, environment: dict[str, str], project_in_hand: Project
):
    service = Service(neighbours, own_broker.url, environment, logs=logs_of(request))
    request.addfinalizer(service.close)
    worker = service.start_worker("live", concurrency=2)
    os.killpg(worker.pid, signal.SIGSTOP)
    with current_app.connection_for_write(own_broker.url) as connection:
        for thread in Thread.objects.filter(project=project_in_hand):
            tasks.classify_thread.apply_async((str(thread.pk),), connection=connection)
    own_broker.raise_alarm()
    os.killpg(worker.pid, signal.SIGCONT)
    time.sleep(ALARM_S)
    own_broker.clear_alarm()
    service.start_beat()
    unlabelled = Thread.objects.filter(category_source=None)
    wait_until(lambda: not unlabelled.exists(), SWEEP_S, "every thread labelled")
    assert worker.exit_code() is None, "the worker ended"


@pytest.fixture
def project_in_hand() -> Project:
    project = ProjectFactory()
    ThreadFactory.create_batch(5, project=project)
    return project


def _faults(broker: Broker, proxy: FaultyProxy) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    return {"killed": (broker.kill, broker.start), "connections cut": (proxy.cut, lambda: None)}
