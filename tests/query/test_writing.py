"""Rows that are written together."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from query.models import QuestionAnswer, Thread
from query.writing import insert_together
from teams.models import Project
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = "100 %s '; DROP TABLE query_thread; -- \\ é \U0001f600"


def make_rows(project: Project, text: str = HOSTILE) -> tuple[Thread, QuestionAnswer]:
    thread = Thread(project=project, first_question=text, user_metadata={text: [text, None, 1.5]})
    exchange = QuestionAnswer(
        thread_id=thread.pk,
        question=text,
        standalone_question=text,
        answer=text,
        is_uncertain=False,
        relevant_sources=[{"title": text}],
        created_at=timezone.now(),
    )
    return thread, exchange


def test_they_are_what_two_saves_would_write():
    project = ProjectFactory()
    together = make_rows(project)
    insert_together(*together)
    for row, saved in zip(together, make_rows(project), strict=True):
        if isinstance(saved, QuestionAnswer):
            saved.thread_id = together[0].pk
        saved.save()
        written, expected = (type(row).objects.filter(pk=each.pk).values().get() for each in (row, saved))
        differing = {name for name in written if written[name] != expected[name]}
        assert differing <= {"id", "created_at", "updated_at", "last_activity_at", "classify_after"}
        assert all(value is not None for value in (written["id"], written["created_at"]))


def test_it_is_one_turn():
    rows = make_rows(ProjectFactory())
    with CaptureQueriesContext(connection) as captured:
        insert_together(*rows)
    assert len(captured) == 1


def test_all_are_written_or_none():
    first, (thread, exchange) = QuestionAnswerFactory(), make_rows(ProjectFactory())
    exchange.pk = first.pk
    with pytest.raises(IntegrityError):
        insert_together(thread, exchange)
    assert not Thread.objects.filter(pk=thread.pk).exists()


def test_a_row_that_refers_to_nothing_is_refused_with_the_others():
    thread, exchange = make_rows(ProjectFactory.build())
    with pytest.raises(IntegrityError):
        insert_together(thread, exchange)
    assert not QuestionAnswer.objects.exists()


def test_inside_a_transaction_they_go_with_it():
    project = ProjectFactory()
    with transaction.atomic():
        insert_together(*make_rows(project))
        assert Thread.objects.count() == 1
        transaction.set_rollback(True)
    assert Thread.objects.count() == 0


def test_a_row_that_was_written_can_be_saved_again():
    thread, exchange = make_rows(ProjectFactory())
    insert_together(thread, exchange)
    exchange.answer = "another"
    exchange.save(update_fields=["answer"])
    assert QuestionAnswer.objects.get().answer == "another"
    assert ThreadFactory().project != thread.project
