"""Workers are killed, stopped and doubled in the middle of their work: every thread is labelled, exactly once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.db.models import Count, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from categorisation import tasks
from categorisation.models import LabelChange, Run
from deploy.local.process import Child
from knowledge.models import Document
from knowledge.tasks import sweep_documents
from query.models import Thread
from query.signals import thread_started
from teams.models import Project
from tests.crash.conftest import logs_of
from tests.crash.counting import NOTES, SECONDS, read_notes
from tests.crash.ingestion import fill_library
from tests.crash.service import Service, tell, wait_until
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.plugin import VectorDBServer, neighbours

pytestmark = [pytest.mark.broker, pytest.mark.django_db(transaction=True)]

LEASE_S = 3.0
RECLAIMED_WITHIN_S = LEASE_S + 10.0
LANES = 10
CALL_S = 0.4
GRACE_S = 30.0  # what orchestrators give a process between SIGTERM and SIGKILL
LONGEST_S = 120.0
OLD = timedelta(days=30)

live_or_backfill = pytest.mark.parametrize(
    "age", [pytest.param(timedelta(0), id="live", marks=pytest.mark.ci), pytest.param(OLD, id="backfill")]
)
once_or_twenty_times = pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where the classifier notes what it is asked."""
    return tmp_path / "notes"


@pytest.fixture
def service(request: pytest.FixtureRequest, broker: str, notes: Path) -> Iterator[Service]:
    environment = {
        "CLASSIFIER": "tests.crash.counting.CountingClassifier",
        NOTES: str(notes),
        SECONDS: str(CALL_S),
        "CLASSIFICATION_LEASE_S": str(LEASE_S),
        "BACKFILL_LANES": str(LANES),
        "LIVE_LANES": str(LANES),
        "PLANNER_INTERVAL_S": "1",
        "SWEEPER_INTERVAL_S": "1",
    }
    service = Service(neighbours, broker, environment, logs=logs_of(request))
    yield service
    service.close()


@pytest.fixture
def project() -> Project:
    return ProjectFactory()


@once_or_twenty_times
@live_or_backfill
def test_check_05_killed_children_lose_no_thread_and_label_none_twice(
    service: Service, project: Project, age: timedelta, times: int
):
    worker = start_planning_and_worker(service, age)
    for _ in range(times):
        # more than is done until the next kill, so that each comes in the middle
        threads = make_threads(project, 6 * LANES, age)
        wait_until_some_are_labelled(threads)
        for pid in children_of(worker):
            os.kill(pid, signal.SIGKILL)
    assert_each_labelled_once(project)


@once_or_twenty_times
def test_check_06_what_a_killed_worker_had_in_hand_is_claimed_again_within_the_lease_and_ten_seconds(
    service: Service, project: Project, times: int
):
    victim, survivor = start_planning_and_worker(service, OLD), start_worker(service, OLD)
    for _ in range(times):
        threads = make_threads(project, 10 * LANES, OLD)
        wait_until_some_are_labelled(threads)
        in_hand = dict(
            threads.filter(category_source=None, classify_after__gt=Now()).values_list("pk", "classify_after")
        )
        os.killpg(victim.pid, signal.SIGKILL)
        assert in_hand
        took_s = wait_until(lambda held=in_hand: not unclaimed(held), RECLAIMED_WITHIN_S, "all of it claimed again")
        tell(f"{len(in_hand)} threads in hand, claimed again {took_s:.1f} s after the kill (lease {LEASE_S:.0f} s)")
        victim, survivor = survivor, start_worker(service, OLD)
    assert_each_labelled_once(project)


@pytest.mark.ci
@once_or_twenty_times
@live_or_backfill
def test_check_07_a_stopped_worker_ends_within_the_grace_and_repeats_one_window_at_most(
    service: Service, project: Project, notes: Path, age: timedelta, times: int
):
    worker = start_planning_and_worker(service, age)
    for _ in range(times):
        threads = make_threads(project, 6 * LANES, age)
        wait_until_some_are_labelled(threads)
        os.kill(worker.pid, signal.SIGTERM)
        took_s = wait_until(lambda ended=worker: ended.exit_code() is not None, GRACE_S, "the worker ended")
        tell(f"ended {took_s:.1f} s after SIGTERM")
        assert not threads.filter(category_source=None, classify_after__gt=Now()).exists(), "left in nobody's hand"
        worker = start_worker(service, age)
    assert_each_labelled_once(project)
    repeated = sum(read_notes(notes).values()) - Thread.objects.count()
    tell(f"{times} times: {repeated} questions asked again")
    assert repeated <= times * LANES


@pytest.mark.ci
def test_check_08_two_beats_plan_one_run_and_label_no_thread_twice(service: Service, project: Project, notes: Path):
    threads = make_threads(project, 12 * LANES, OLD)
    for _ in range(2):
        start_worker(service, timedelta(0))
        start_worker(service, OLD)
        service.start_beat({"PLANNER_INTERVAL_S": "0.5"})
    assert_each_labelled_once(project)
    wait_until(lambda: Run.objects.filter(state="done").exists(), LONGEST_S, "the run ended")
    run = Run.objects.get()
    assert (run.done, run.failed) == (threads.count(), 0)
    assert set(read_notes(notes).values()) == {1}


def test_check_09_a_task_delivered_ten_times_writes_once(service: Service, project: Project, notes: Path):
    young = make_threads(project, 3, timedelta(0))
    old = make_threads(project, 2 * LANES, OLD)
    tasks.plan.run()
    for _ in range(10):
        for thread in young:
            tasks.classify_thread.delay(str(thread.pk))
        tasks.run_batch.delay()
    assert Run.objects.get().total == old.count()
    start_worker(service, timedelta(0))
    start_worker(service, OLD)
    assert_each_labelled_once(project)
    assert set(read_notes(notes).values()) == {1}


SECONDS_OF_TRAFFIC = [pytest.param(6, marks=pytest.mark.ci), pytest.param(120, marks=pytest.mark.soak)]


@pytest.mark.parametrize("seconds", SECONDS_OF_TRAFFIC)
def test_check_14_new_threads_are_labelled_within_seconds_beside_a_backfill_and_an_ingestion(
    service: Service, project: Project, vectordb_server: VectorDBServer, seconds: int
):
    """Twenty new threads a second, a classifier of two seconds, one worker process for each of the other things."""
    call_s, rate_per_s = 2.0, 20
    slow = {SECONDS: str(call_s), "LIVE_LANES": "64", "BACKFILL_LANES": "100", "CLASSIFICATION_LEASE_S": "130"}
    make_threads(project, (seconds + 10) * 50, OLD)
    fill_library(project)
    service.start_worker("live,mail", concurrency=3, environment=slow)
    service.start_worker("backfill", concurrency=3, environment=slow)
    service.start_worker("ingest", concurrency=1, environment={"EMBEDDER": "tests.crash.ingestion.BusyEmbedder"})
    service.start_beat()
    sweep_documents.delay()
    wait_until(lambda: Document.objects.filter(staged_chunks__gt=0).exists(), LONGEST_S, "the ingestion to run")
    wait_until(lambda: Thread.objects.exclude(category_source=None).exists(), LONGEST_S, "the backfill to run")

    asked: list[UUID] = []
    begun = time.monotonic()
    while (passed_s := time.monotonic() - begun) < seconds:
        while len(asked) < passed_s * rate_per_s:
            thread = ThreadFactory(project=project, first_question=f"What about {len(asked)}?")
            thread_started.send_robust(sender=Thread, thread_id=thread.pk)
            asked.append(thread.pk)
        time.sleep(0.01)
    new = Thread.objects.filter(pk__in=asked)
    wait_until(lambda: not new.filter(category_source=None).exists(), LONGEST_S, "new threads labelled")
    waits = sorted((thread.categorised_at - thread.created_at).total_seconds() for thread in new)
    p95_s = waits[int(len(waits) * 0.95)]
    tell(f"{len(waits)} new threads: labelled after {waits[len(waits) // 2]:.1f} s by the median, p95 {p95_s:.1f} s")
    assert p95_s <= 5.0 + call_s
    assert Thread.objects.filter(category_source=None).exists(), "the backfill ended before the new threads came"


def start_planning_and_worker(service: Service, age: timedelta) -> Child:
    """The worker whose work threads of that age are. Planning is done where live threads are."""
    service.start_beat()
    if age:
        start_worker(service, timedelta(0))
    return start_worker(service, age)


def start_worker(service: Service, age: timedelta) -> Child:
    return service.start_worker("backfill" if age else "live", concurrency=2)


def make_threads(project: Project, count: int, age: timedelta) -> QuerySet[Thread]:
    first = Thread.objects.count()
    created_at = timezone.now() - age
    made = Thread.objects.bulk_create(
        Thread(project=project, first_question=f"How is thing {first + n} done?", created_at=created_at)
        for n in range(count)
    )
    return Thread.objects.filter(pk__in=[thread.pk for thread in made])


def wait_until_some_are_labelled(threads: QuerySet[Thread]) -> None:
    wait_until(lambda: threads.exclude(category_source=None).exists(), LONGEST_S, "the middle of the work")


def unclaimed(held: dict[UUID, object]) -> list[UUID]:
    """Of threads in a dead worker's hand those that nobody has claimed since."""
    rows = Thread.objects.filter(pk__in=held, category_source=None).values_list("pk", "classify_after")
    return [pk for pk, classify_after in rows if classify_after == held[pk]]


def assert_each_labelled_once(project: Project) -> None:
    unlabelled = Thread.objects.filter(project=project, category_source=None)
    wait_until(lambda: not unlabelled.exists(), LONGEST_S, "every thread labelled")
    changes = LabelChange.objects.values("thread").annotate(times=Count("pk")).values_list("times", flat=True)
    assert list(changes) == [1] * Thread.objects.filter(project=project).count()


def children_of(worker: Child) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]
