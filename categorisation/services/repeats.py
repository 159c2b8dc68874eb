"""Same questions: within a run, threads of a project with an identical first question are classified once.

A window remembers what it computed, and lets threads whose question is under way wait for it. Across windows, a twin is
looked up that the classifier labelled since the run began, under the same taxonomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from categorisation.classifiers import Classification
from categorisation.models import RunKind
from categorisation.services.calls import NoResult, Result
from categorisation.services.streams import Done, Stream, Work

REMEMBERED_QUESTIONS = 10_000

_TWINS = """
    SELECT t.id, twin.category_id, twin.category_confidence
    FROM query_thread t
    CROSS JOIN LATERAL (
        SELECT w.category_id, w.category_confidence FROM query_thread w
        WHERE w.project_id = t.project_id AND md5(w.first_question) = md5(t.first_question)
            AND w.category_source = 'classifier' AND w.first_question = t.first_question
            AND w.categorised_at >= %(since)s AND w.category_taxonomy_version = %(version)s
        LIMIT 1
    ) twin
    WHERE t.id = ANY(%(threads)s::uuid[])
"""
Question = tuple[Stream, str]  # a run under one version of its taxonomy, and a first question


class Repeats:
    """What a window knows of the questions of its runs. Young threads (no run) are each classified on their own."""

    def __init__(self, remembered: int = REMEMBERED_QUESTIONS) -> None:
        self._remembered = remembered
        self._known: dict[Question, Classification] = {}
        self._followers: dict[Question, list[Work]] = {}

    def admit(self, stream: Stream, works: Sequence[Work]) -> tuple[list[Work], list[Done]]:
        """Those to be classified, and those whose classification is known. The rest comes with `learn`."""
        if stream.run is None:
            return list(works), []
        leaders, known = [], []
        for work in works:
            question = _question_of(work)
            if (found := self._known.get(question)) is not None:
                known.append(Done(work, found, is_reused=True))
            elif (followers := self._followers.get(question)) is not None:
                followers.append(work)
            else:
                self._followers[question] = []
                leaders.append(work)
        twins = _find_twins(stream, leaders)
        if not twins:
            return leaders, known
        for work in leaders:
            if (twin := twins.get(work.claim.thread_id)) is not None:
                known += [Done(work, twin, is_reused=True), *self.learn(work, twin)]
        return [work for work in leaders if work.claim.thread_id not in twins], known

    def learn(self, work: Work, result: Result) -> list[Done]:
        """What follows for the threads that waited for this one."""
        question = _question_of(work)
        followers = self._followers.pop(question, None)
        if followers is None:
            return []
        if isinstance(result, Classification):
            self._remember(question, result)
            return [Done(follower, result, is_reused=True) for follower in followers]
        if result is NoResult.NO_CATEGORY:
            return [Done(follower, result) for follower in followers]
        return [Done(follower, NoResult.SAME_QUESTION_FAILED) for follower in followers]

    def give_up_waiting(self, works: Sequence[Work]) -> list[Work]:
        """The threads that wait for these, which are not classified here after all."""
        return [follower for work in works for follower in self._followers.pop(_question_of(work), ())]

    def count_followers(self) -> int:
        return sum(map(len, self._followers.values()))

    def _remember(self, question: Question, classification: Classification) -> None:
        self._known[question] = classification
        if len(self._known) > self._remembered:
            del self._known[next(iter(self._known))]  # the oldest: dictionaries keep the order


def _question_of(work: Work) -> Question:
    return work.stream, work.claim.question


def _find_twins(stream: Stream, works: Sequence[Work]) -> dict[UUID, Classification]:
    run = stream.run
    if not works or run is None or run.kind == RunKind.PREVIEW:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            _TWINS,
            {
                "since": run.started_at,
                "version": stream.taxonomy.version,
                "threads": [str(work.claim.thread_id) for work in works],
            },
        )
        return {row[0]: Classification(str(row[1]), row[2]) for row in cursor.fetchall()}
