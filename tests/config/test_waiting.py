"""Gauges that neighbours are asked for: seldom, and without ever being held up."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest

from categorisation.services import runs
from categorisation.services.backlog import OpenRuns, Unlabelled
from categorisation.services.history import SHELL
from config import waiting
from config.waiting import Asked, Rows, Waiting, read_queues, read_rows
from knowledge import selectors
from knowledge.models import Document
from knowledge.selectors import Pending
from knowledge.tasks import index_document
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import ThreadFactory
from tests.observability.figures import Figures


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_fresh_is_not_asked_for_again():
    clock, answers = Clock(), iter([1, 2])
    asked = Asked(lambda: next(answers), fresh_s=5, monotonic=clock)
    assert [asked.read(10) for _ in range(3)] == [1, 1, 1]
    clock.now += 5.1
    assert [asked.read(10) for _ in range(3)] == [2, 2, 2]


def test_one_that_fails_is_let_alone_for_a_while():
    clock, calls = Clock(), []

    def fail() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("no route")
        return 7

    asked = Asked(fail, fresh_s=5, monotonic=clock)
    assert [asked.read(10) for _ in range(3)] == [None, None, None]
    assert len(calls) == 1
    clock.now += 5.1
    assert asked.read(10) == 7


def test_one_that_hangs_holds_up_one_thread_whoever_asks():
    clock, go_on, calls = Clock(), threading.Event(), []

    def hang() -> int:
        calls.append(threading.current_thread())
        go_on.wait(30)
        return 3

    asked = Asked(hang, fresh_s=5, monotonic=clock)
    assert [asked.read(0.01) for _ in range(20)] == [None] * 20
    assert len(calls) == 1
    go_on.set()
    calls[0].join(10)
    assert asked.read(10) == 3
    assert len(calls) == 1


def tell(collector: Waiting) -> Figures:
    registry = CollectorRegistry()
    registry.register(collector)
    return Figures.parse(generate_latest(registry).decode())


def test_all_that_waits_is_told():
    rows = Rows(
        unlabelled={"live": Unlabelled(3, 4.5), "old": Unlabelled(100_000, 9e6)},
        given_up=2,
        runs=[OpenRuns("backfill", "running", 1, 50), OpenRuns("reclassify", "paused", 2, 0)],
        documents=Pending(6, 7.5),
        reports={"due": 3, "unknown": 1},
    )
    told = tell(Waiting(lambda: rows, lambda: {"live": 8, "mail": 0}))
    assert told.total("parley_broker_up") == told.total("parley_database_up") == 1
    assert told.total("parley_queue_messages", queue="live") == 8
    assert told.total("parley_unlabelled_threads", age="old") == 100_000
    assert told.total("parley_unlabelled_oldest_age_seconds", age="live") == 4.5
    assert told.total("parley_given_up_threads") == 2
    assert told.total("parley_open_runs", kind="reclassify", state="paused") == 2
    assert told.total("parley_open_runs_threads_left", kind="backfill") == 50
    assert told.total("parley_pending_documents") == 6
    assert told.total("parley_reports", state="unknown") == 1
    assert told.total("parley_pending_documents_oldest_age_seconds") == 7.5


def test_of_a_neighbour_that_is_down_nothing_is_told_but_that(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.05)
    hung = threading.Event()

    def hang() -> Rows:
        hung.wait(30)
        raise AssertionError

    told = tell(Waiting(hang, dict))
    hung.set()
    assert {name: told.total(name) for name in told.samples} == {"parley_broker_up": 1, "parley_database_up": 0}


@pytest.mark.django_db(transaction=True)
def test_the_rows_are_read_and_their_question_is_bounded(project):
    ThreadFactory(project=project)
    runs.start_backfill(project_id=project.pk, actor=SHELL)
    for age_s, state in ((60, "pending"), (5, "pending"), (600, "indexed"), (700, "failed")):
        document = DocumentFactory(project=project, state=state)
        Document.objects.filter(pk=document.pk).update(updated_at=timezone.now() - timedelta(seconds=age_s))
    rows = read_rows()
    assert rows.unlabelled["live"].threads == 1
    assert rows.runs[0].kind == "backfill"
    assert rows.documents.documents == 2
    assert rows.documents.oldest_s == pytest.approx(60, abs=30)
    with connection.cursor() as cursor:  # what bounded the question is forgotten with it
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "0"


@pytest.mark.django_db
def test_pending_documents_are_read_from_the_index_of_what_awaits_work(django_assert_num_queries):
    project = DocumentFactory(state="pending").project
    others = (DocumentFactory.build(project=project, state="indexed") for _ in range(1_000))
    Document.objects.bulk_create(others)
    with django_assert_num_queries(1) as asked:
        assert selectors.count_pending().documents == 1
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE knowledge_document")
        cursor.execute(f"EXPLAIN {asked.captured_queries[0]['sql']}")
        assert "document_awaiting_work" in "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.broker
def test_messages_are_counted_in_every_queue_whether_or_not_it_was_ever_declared(broker: str):
    before = read_queues()
    assert before.keys() >= {"live", "ingest", "backfill"}
    for _ in range(3):
        index_document.apply_async(["x"])
    assert read_queues() == {**before, "ingest": before["ingest"] + 3}
