"""A project's retention at work in real workers: everything old goes, and new conversations do not wait for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from config.celery import app
from query import erasing, tasks
from query.criteria import Criterion
from query.models import Erasure, QuestionAnswer, Thread
from query.signals import thread_started
from teams.models import Project
from tests.crash.service import wait_until
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.plugin import Worker

OLD_THREADS = 20_000
NEW_THREADS = 10
LABELLED_WITHIN_S = 5.0
ENVIRONMENT = {"CLASSIFIER": "dummy", "DUMMY_CLASSIFIER_SECONDS": "0.05"}


def make_old_threads(project: Project, number: int) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=400)
    rows = [
        Thread(project=project, first_question=f"How? {n}", created_at=long_ago, last_activity_at=long_ago)
        for n in range(number)
    ]
    Thread.objects.bulk_create(rows, batch_size=2_000)
    answers = [
        QuestionAnswer(thread=row, question="How?", standalone_question="How?", answer="So.", is_uncertain=False)
        for row in rows
    ]
    QuestionAnswer.objects.bulk_create(answers, batch_size=2_000)


@pytest.mark.ci
@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_new_conversations_are_labelled_while_many_old_ones_are_erased(celery_worker: Callable[..., Worker]):
    old, new = ProjectFactory(retention_days=365), ProjectFactory()
    make_old_threads(old, OLD_THREADS)
    old.taxonomy.is_enabled = False  # or the backfill would label them first
    old.taxonomy.save()
    celery_worker(queues="live,mail", concurrency=3, environment=ENVIRONMENT)
    celery_worker(queues="backfill", concurrency=3, environment=ENVIRONMENT)
    tasks.erase_conversations.nudge()
    wait_until(lambda: Erasure.objects.filter(erased__gt=0).exists(), 30, "the erasure has begun")
    for _ in range(NEW_THREADS):
        thread = ThreadFactory(project=new)
        thread_started.send_robust(sender=Thread, thread_id=thread.pk)
        labelled = Thread.objects.filter(pk=thread.pk, category_source="classifier")
        wait_until(labelled.exists, LABELLED_WITHIN_S, "a new conversation is labelled")
    assert Erasure.objects.get().state == "open", "it went on all the while"
    wait_until(lambda: Erasure.objects.get().state == "done", 120, "all old ones are erased")
    assert Erasure.objects.get().erased == OLD_THREADS
    assert not Thread.objects.filter(project=old).exists()
    assert not QuestionAnswer.objects.filter(thread__project=old).exists()


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_no_message_of_a_conversation_or_an_erasure_holds_a_word_of_it(broker: str):
    """What waits in queues, and in a broker's files, is ids alone."""
    project = ProjectFactory(retention_days=1)
    thread = ThreadFactory(project=project, first_question="marzipan", user_email="marzipan@example.com")
    thread_started.send_robust(sender=Thread, thread_id=thread.pk)
    erasing.begin(Criterion(email="marzipan@example.com"), asked_by="a test")
    about_thread, about_erasure = read_message("live"), read_message("backfill")
    assert str(thread.pk) in about_thread
    assert "erase_conversations" in about_erasure
    assert "marzipan" not in about_thread + about_erasure


def read_message(queue: str) -> str:
    """The first message that waits there: its headers and its body."""
    with app.connection_for_read() as connection, closing(connection.SimpleQueue(app.amqp.queues[queue])) as waiting:
        message = waiting.get(timeout=10)
        message.ack()
    return f"{message.headers} {message.payload}"
