"""Every write to conversations, and the way of a question through the house."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Now
from django.utils import timezone

from knowledge.connections import release_connection
from observability import metrics
from observability.logs import TEXTS
from query import composition, selectors
from query.agent import Answer, AnswerPart, Passage
from query.errors import ThreadNotFound
from query.models import QuestionAnswer, Thread
from query.signals import thread_started
from query.writing import insert_together
from teams.models import Project

texts = logging.getLogger(TEXTS)


@dataclass(frozen=True, slots=True)
class Asker:
    """What a client tells of the person who asks."""

    email: str = ""
    unique_client_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    origin_url: str = ""


def ask(*, project: Project, question: str, thread: Thread | None = None, asker: Asker | None = None) -> QuestionAnswer:
    """Answer a question in a new thread of the project, or as the follow-up of one that is the project's.

    Nothing is written, no transaction and no lock is held until the answer is there: when the embedder, the vector
    database or the model fails, its error passes through and no trace is left. Raises ThreadNotFound when the thread
    is deleted meanwhile.
    """
    history = selectors.recent_exchanges(thread) if thread else []
    answer = composition.agent_for(project.pk).answer(question, history)
    return _save(project, question, answer, thread, asker)


def ask_in_parts(
    *, project: Project, question: str, thread: Thread | None = None, asker: Asker | None = None
) -> Generator[AnswerPart | QuestionAnswer, None, None]:
    """As `ask`, part by part: the sources, pieces of the text, the whole answer, and last, when it is written down, the
    exchange.

    Whoever asks for what comes after the answer has it written down; closed before, this leaves no trace. No connection
    to the database is held between two parts.
    """
    try:
        history = selectors.recent_exchanges(thread) if thread else []
        with closing(composition.agent_for(project.pk).stream(question, history)) as parts:
            for part in parts:
                release_connection()
                yield part
                if isinstance(part, Answer):
                    yield _save(project, question, part, thread, asker)
    finally:
        release_connection()


def retrieve(*, project_id: UUID, query: str, top_k: int, filters: dict[str, Any] | None = None) -> Sequence[Passage]:
    """The passages that a question about `query` would be answered from, best first."""
    return composition.retriever_for(project_id, filters).retrieve(query, top_k).passages


def _save(
    project: Project, question: str, answer: Answer, thread: Thread | None, asker: Asker | None
) -> QuestionAnswer:
    if thread is None:
        exchange = _start_thread(project, question, answer, asker or Asker())
    else:
        exchange = _continue_thread(thread, question, answer)
    _measure(answer)
    texts.info("asked %r, answered %r", question, answer.text)
    return exchange


def _measure(answer: Answer) -> None:
    metrics.ANSWERS.labels("uncertain" if answer.is_uncertain else "certain").inc()
    for name, took_ms in asdict(answer.timings).items():
        metrics.CHAT_STEP_SECONDS.labels(name.removesuffix("_ms")).observe(took_ms / 1000)


def _start_thread(project: Project, question: str, answer: Answer, asker: Asker) -> QuestionAnswer:
    thread = Thread(
        project=project,
        first_question=question,
        is_uncertain=answer.is_uncertain,
        user_email=asker.email,
        user_unique_client_id=asker.unique_client_id,
        user_metadata=asker.metadata,
        origin_url=asker.origin_url,
    )
    exchange = _make_exchange(thread, question, answer)
    insert_together(thread, exchange)
    announce = partial(thread_started.send_robust, sender=Thread, thread_id=thread.pk)
    transaction.on_commit(announce, robust=True)
    return exchange


def _continue_thread(thread: Thread, question: str, answer: Answer) -> QuestionAnswer:
    with transaction.atomic():
        still_there = Thread.objects.filter(pk=thread.pk).update(
            total_questions=F("total_questions") + 1,
            is_uncertain=Value(True) if answer.is_uncertain else F("is_uncertain"),
            last_activity_at=Now(),
            updated_at=Now(),
        )
        if not still_there:
            raise ThreadNotFound("The thread was deleted while its question was being answered.")
        exchange = _make_exchange(thread, question, answer)
        exchange.save(force_insert=True)
    return exchange


def _make_exchange(thread: Thread, question: str, answer: Answer) -> QuestionAnswer:
    return QuestionAnswer(
        thread_id=thread.pk,
        question=question,
        standalone_question=answer.standalone_question,
        answer=answer.text,
        is_uncertain=answer.is_uncertain,
        relevant_sources=[asdict(source) for source in answer.relevant_sources],
        timings=asdict(answer.timings),
        created_at=timezone.now(),
    )
