"""Reads of threads that are more than a filter."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from django.db.models import Prefetch, QuerySet

from query.agent import Exchange
from query.errors import ThreadNotFound
from query.models import QuestionAnswer, Thread

HISTORY_LENGTH = 6
# A row of a list: columns that are shown as they are, and what tells how its category is named. The rest of a
# category's row is long.
SHOWN_AS_THEY_ARE = (
    "created_at",
    "updated_at",
    "last_activity_at",
    "first_question",
    "total_questions",
    "is_uncertain",
)
LABEL = (
    "category_source",
    "category_confidence",
    *(
        f"{category}__{name}"
        for category in ("category", "category__reassigned_to")
        for name in ("title", "deleted_at")
    ),
)


def threads_of(project_id: UUID) -> QuerySet[Thread]:
    """The project's threads with their categories, in one query."""
    threads = Thread.objects.filter(project_id=project_id).select_related("category__reassigned_to")
    return threads.only("project_id", *SHOWN_AS_THEY_ARE, *LABEL)


def with_question_answers(threads: QuerySet[Thread]) -> QuerySet[Thread]:
    """The same threads with their exchanges, oldest first, in one more query."""
    in_order = QuestionAnswer.objects.order_by("created_at", "id")
    return threads.prefetch_related(Prefetch("question_answers", queryset=in_order))


class Label(NamedTuple):
    """A category and who gave it, as they stand in a thread's row."""

    category_id: UUID | None
    source: str | None


def find_thread(thread_id: UUID, project_id: UUID) -> Thread:
    """The thread, if it is the project's. Raises ThreadNotFound."""
    thread = Thread.objects.filter(pk=thread_id, project_id=project_id).first()
    if thread is None:
        raise ThreadNotFound("There is no such thread.")
    return thread


def recent_exchanges(thread: Thread) -> list[Exchange]:
    """The thread's last exchanges, oldest first: the history that a follow-up leans on."""
    newest = thread.question_answers.order_by("-created_at", "-id").only("standalone_question", "answer")
    return [Exchange(question=row.standalone_question, answer=row.answer) for row in reversed(newest[:HISTORY_LENGTH])]
