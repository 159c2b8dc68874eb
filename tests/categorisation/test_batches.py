"""Batches: one claims for a worker at a time, and hands its lanes over; with real workers, too."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Max, Min, Sum
from django.utils import timezone

from categorisation import services, tasks
from categorisation.models import Batch, LabelChange, Run, RunState
from categorisation.services import Outcome, batches, planning
from categorisation.services.batches import BatchKeeper, begin_batch, fresh_batches
from categorisation.services.history import SHELL
from query.models import Thread
from teams.models import Project
from tests.categorisation.fakes import FakeClassifier
from tests.categorisation.two_connections import started_on_another_connection
from tests.categorisation.windows import batch_parts, run_batch
from tests.factories.teams import ProjectFactory

WAIT_S = 60.0


def old_threads(project: Project, count: int) -> None:
    created_at = timezone.now() - timedelta(days=2)
    Thread.objects.bulk_create(
        Thread(project=project, first_question=f"Question number {number}?", created_at=created_at)
        for number in range(count)
    )


def let_it_be_dead(batch: Batch) -> None:
    Batch.objects.filter(pk=batch.pk).update(seen_at=timezone.now() - timedelta(seconds=11))


@pytest.mark.django_db
def test_one_batch_claims_for_a_worker_at_a_time():
    first = begin_batch("one")
    assert first is not None
    assert begin_batch("one") is None
    assert begin_batch("another") is not None
    Batch.objects.filter(pk=first.pk).update(is_draining=True)
    assert begin_batch("one") is not None


@pytest.mark.django_db
def test_a_batch_that_is_not_seen_any_more_holds_nothing_up():
    dead = begin_batch("one")
    assert dead is not None
    let_it_be_dead(dead)
    assert not fresh_batches().exists()
    heir = begin_batch("one")
    assert heir is not None
    # if it was only asleep, it learns that others have its lanes now
    keeper = BatchKeeper(dead, batch_parts(FakeClassifier(), worker="one"))
    assert keeper.beat(3).lanes == 0
    assert keeper.is_lost


@pytest.mark.django_db
def test_a_successor_uses_the_lanes_that_others_of_its_worker_leave():
    parts = batch_parts(FakeClassifier(), worker="one", max_calls=10)
    first, elsewhere = begin_batch("one"), begin_batch("another")
    assert first is not None
    assert elsewhere is not None
    draining = BatchKeeper(first, parts)
    assert draining.beat(10).lanes == 10
    BatchKeeper(elsewhere, batch_parts(FakeClassifier(), worker="another")).beat(8)
    draining.begin_draining(10)
    second = begin_batch("one")
    assert second is not None
    successor = BatchKeeper(second, parts)
    assert successor.beat(0).lanes == 0
    assert draining.beat(4).lanes == 0
    assert successor.beat(0).lanes == 6
    Batch.objects.filter(pk=first.pk).delete()
    assert successor.beat(6).lanes == 10


@pytest.mark.django_db(transaction=True)
def test_a_hand_over_never_has_more_calls_than_lanes_and_leaves_none_idle():
    project = ProjectFactory()
    old_threads(project, 300)
    services.start_backfill(project_id=project.pk, actor=SHELL)
    lock, under_way, most = threading.Lock(), [0], [0]

    def before(questions: object) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.2)
        with lock:
            under_way[0] -= 1

    classifier, handed_over = FakeClassifier(before=before), threading.Event()
    first = batch_parts(classifier, claims_s=1.0, send_successor=handed_over.set)
    with started_on_another_connection(lambda: services.run_batch(first)) as ending:
        assert handed_over.wait(WAIT_S)
        successor = run_batch(classifier, claims_s=1.5)
        outcomes = ending.result(WAIT_S)
    assert most[0] <= 8
    assert (outcomes + successor)[Outcome.LABELLED] == Thread.objects.exclude(category=None).count()
    assert successor[Outcome.LABELLED] > 0
    assert not Batch.objects.exists()


@pytest.mark.broker
@pytest.mark.django_db
def test_there_are_messages_for_every_worker_and_one_more(broker: str, monkeypatch: pytest.MonkeyPatch):
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks.run_batch, "apply_async", lambda **options: sent.append(options))
    assert batches.send_batches() == 2
    begin_batch("one")
    begin_batch("another")
    assert batches.send_batches() == 6
    assert len(sent) == 8
    assert all(options["expires"] > 0 for options in sent)


# -- with real workers ------------------------------------------------------------------------------------------------

QUICK = {
    "CLASSIFIER": "dummy",
    "CLASSIFICATION_LEASE_S": "5",
    "BACKFILL_BATCH_S": "3",
    "BACKFILL_DRAIN_S": "3",
}
StartWorker = Callable[..., Any]


def work_off(run: Run, *, watch: Callable[[], object] = lambda: None) -> None:
    """What beat does, until the run is done."""
    deadline, planned_at = time.monotonic() + WAIT_S, 0.0
    while Run.objects.get(pk=run.pk).state == RunState.RUNNING:
        assert time.monotonic() < deadline, "not done in time"
        if time.monotonic() > planned_at + 1:
            planning.plan(begins=False)
            planned_at = time.monotonic()
        watch()
        time.sleep(0.05)


def count_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
@pytest.mark.ci
def test_check_12_lanes_are_busy_all_the_time_over_hand_overs_with_a_connection_for_each_process(
    celery_worker: StartWorker,
):
    """600 threads x 0.5 s in 30 lanes: 10 s of work, three batches."""
    threads, lanes, seconds, processes = 600, 30, 0.5, 3
    project = ProjectFactory()
    old_threads(project, threads)
    environment = {**QUICK, "BACKFILL_LANES": str(lanes), "DUMMY_CLASSIFIER_SECONDS": str(seconds)}
    celery_worker(queues="backfill", concurrency=processes, environment=environment)
    run = services.start_backfill(project_id=project.pk, actor=SHELL)
    connections = []

    work_off(run, watch=lambda: connections.append(count_connections()))

    run.refresh_from_db()
    assert (run.state, run.done, run.total) == (RunState.DONE, threads, threads)
    assert LabelChange.objects.count() == threads
    times = Thread.objects.aggregate(first=Min("categorised_at"), last=Max("categorised_at"))
    # the first label comes when a round of calls has ended
    busy = (threads - lanes) * seconds / lanes / (times["last"] - times["first"]).total_seconds()
    assert busy >= 0.7  # on a machine that does other things, too; benchmarks/backfill.py has the bound of 0.95
    assert max(connections) <= processes + 2


@pytest.mark.ci
@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_two_workers_share_a_run(celery_worker: StartWorker):
    project = ProjectFactory()
    old_threads(project, 300)
    environment = {**QUICK, "BACKFILL_LANES": "10", "DUMMY_CLASSIFIER_SECONDS": "0.2"}
    for _ in range(2):
        celery_worker(queues="backfill", concurrency=2, environment=environment)
    run = services.start_backfill(project_id=project.pk, actor=SHELL)
    most: Counter[str] = Counter()

    def watch() -> None:
        for worker, lanes in Batch.objects.values_list("worker").annotate(Sum("lanes")):
            most[worker] = max(most[worker], lanes)

    work_off(run, watch=watch)
    assert LabelChange.objects.count() == 300
    assert list(most.values()) == [10, 10]


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_a_queue_that_nobody_reads_does_not_grow(broker: str):
    project = ProjectFactory()
    old_threads(project, 1)
    services.start_backfill(project_id=project.pk, actor=SHELL)
    sent = [planning.plan(begins=False).messages for _ in range(5)]
    assert sent == [2, 0, 0, 0, 0]


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_stopped_lets_calls_end_and_leaves_the_rest_due(celery_worker: StartWorker):
    project = ProjectFactory()
    old_threads(project, 200)
    environment = {**QUICK, "CLASSIFICATION_LEASE_S": "130", "BACKFILL_LANES": "5", "DUMMY_CLASSIFIER_SECONDS": "1"}
    worker = celery_worker(queues="backfill", concurrency=3, environment=environment)
    services.start_backfill(project_id=project.pk, actor=SHELL)
    planning.plan(begins=False)
    deadline = time.monotonic() + WAIT_S
    while not LabelChange.objects.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)

    begun = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    while worker.child.exit_code() is None:
        assert time.monotonic() < begun + 30
        time.sleep(0.05)

    assert not Thread.objects.filter(category=None, classify_after__gt=timezone.now()).exists()
    assert Thread.objects.filter(classify_attempts__gt=0).count() == 0
    labelled = Thread.objects.filter(category_source="classifier").count()
    assert labelled == LabelChange.objects.count() >= 5


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_check_11_a_classifier_that_hangs_ends_no_later_than_its_batch_and_its_process_is_replaced(
    celery_worker: StartWorker,
):
    project = ProjectFactory()
    old_threads(project, 30)
    Thread.objects.filter(first_question="Question number 7?").update(first_question="Does it hang?")
    environment = {
        **QUICK,
        "CLASSIFIER": "tests.categorisation.fakes.HangingClassifier",
        "CLASSIFICATION_PAUSES_S": "0.1,0.1,0.1,0.1",
        "BACKFILL_BATCH_S": "1",
        "BACKFILL_DRAIN_S": "1",
    }
    worker = celery_worker(queues="backfill", concurrency=2, environment=environment)
    run = services.start_backfill(project_id=project.pk, actor=SHELL)
    longest = timedelta(0)

    def watch() -> None:
        nonlocal longest
        ages = [batch.seen_at - batch.started_at for batch in Batch.objects.all()]
        longest = max([longest, *ages])

    work_off(run, watch=watch)

    run.refresh_from_db()
    assert (run.done, run.failed) == (29, 1)
    assert longest < timedelta(seconds=1 + 1 + 5)
    assert "their process is replaced" in worker.read_log()
