"""Threads by the million: COPY of rows that differ as a benchmark wants them to.

    seed_threads(project.pk, 1_000_000, newest=now - timedelta(days=2))              # unlabelled, for a backfill
    seed_threads(project.pk, 1_000_000, newest=now, describe=Mix(1_000_000, labels={Label(category.pk, "user"): 10}))

Numbers are exact: a mix gives so many threads each label or word, spread evenly over time.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import islice
from random import Random
from typing import NamedTuple, TypeVar
from uuid import UUID

from django.db import connection

from query.models import CategorySource

T = TypeVar("T")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SPAN = timedelta(days=365)
ROWS_PER_READ = 1_000
COLUMNS = _words(
    "id project_id created_at updated_at last_activity_at first_question total_questions is_uncertain user_email"
    " user_unique_client_id user_metadata origin_url category_id category_source category_confidence categorised_at"
    " category_taxonomy_version classify_attempts"
)
NULL = r"\N"

# 32 of each: more than a million questions with words that come again, as people's do
VERBS = _words(
    "install configure restart export import delete share print sync connect upgrade cancel schedule translate resize"
    " rename archive encrypt preview rotate merge split filter sort search validate publish embed duplicate restore"
    " automate measure"
)
ADJECTIVES = _words(
    "monthly shared broken old new private public default hidden large small remote local nightly weekly yearly draft"
    " signed empty full slow fast manual custom mobile offline regional internal external temporary primary spare"
)
NOUNS = _words(
    "invoice report calendar printer backup dashboard template folder contract mailbox webhook password licence"
    " projector keyboard account workspace chart label ticket survey certificate token badge receipt voucher"
    " newsletter catalogue warehouse timesheet playlist forum"
)
PLACES = _words(
    "Berlin Zurich Vienna Oslo Lisbon Madrid Paris London Dublin Warsaw Prague Rome Athens Sofia Riga Tallinn Vilnius"
    " Helsinki Stockholm Copenhagen Amsterdam Brussels Luxembourg Geneva Milan Turin Porto Seville Krakow Gdansk Graz"
    " Bergen"
)


class Label(NamedTuple):
    """A category and who gave it."""

    category_id: UUID | None
    source: str


@dataclass(frozen=True, slots=True)
class Seed:
    """In what a thread differs from the others."""

    question: str
    label: Label | None = None
    is_uncertain: bool = False
    updated_at: datetime | None = None


def question_of(number: int) -> str:
    """A question that no other number has."""
    rest, parts = number, []
    for words in (VERBS, ADJECTIVES, NOUNS, PLACES):
        rest, place = divmod(rest, len(words))
        parts.append(words[place])
    verb, adjective, noun, city = parts
    question = f"How do I {verb} the {adjective} {noun} of our office in {city}?"
    return f"{question} This is my question number {rest + 1}." if rest else question


def seed_unlabelled(number: int) -> Seed:
    return Seed(question_of(number))


@dataclass(frozen=True, slots=True)
class Mix:
    """Seeds of `count` threads with exact numbers of labels, uncertain ones, changed ones and words.

    `updated` says how many threads were changed at which time, the others when they were begun. What is left by
    `labels` is unlabelled.
    """

    count: int
    labels: Mapping[Label, int] = field(default_factory=dict)
    uncertain: int = 0
    updated: Mapping[datetime, int] = field(default_factory=dict)
    words: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, number: int) -> Seed:
        words = [word for place, (word, wanted) in enumerate(self.words.items()) if self._rank(number, place) < wanted]
        question = question_of(number)
        return Seed(
            question=f"{question} It is about {' and '.join(words)}." if words else question,
            label=_choose(self.labels, self._rank(number, 10)),
            is_uncertain=self._rank(number, 11) < self.uncertain,
            updated_at=_choose(self.updated, self._rank(number, 12)),
        )

    def _rank(self, number: int, salt: int) -> int:
        """A permutation of 0..count-1, another for each salt, that scatters neighbours evenly."""
        return number * _stride(self.count, salt) % self.count


@cache
def _stride(count: int, salt: int) -> int:
    """A number without a divisor in common with the count, near a multiple of its golden section."""
    stride = max(1, round(count * math.fmod((salt + 1) * (math.sqrt(5) - 1) / 2, 1)))
    while math.gcd(stride, count) != 1:
        stride += 1
    return stride


def _choose(wanted: Mapping[T, int], rank: int) -> T | None:
    for value, number in wanted.items():
        if rank < number:
            return value
        rank -= number
    return None


def seed_threads(
    project_id: UUID,
    count: int,
    *,
    newest: datetime,
    span: timedelta = SPAN,
    describe: Callable[[int], Seed] = seed_unlabelled,
    seed: int = 0,
) -> None:
    """Write `count` threads begun over `span` until `newest`, the first number the newest, and count them anew.

    The same arguments give the same rows, ids included.
    """
    random = Random(f"{project_id} {seed}")
    step = span / max(1, count)
    rows = (
        _row(project_id, UUID(int=random.getrandbits(128), version=4), newest - number * step, describe(number))
        for number in range(count)
    )
    with connection.cursor() as cursor:
        cursor.cursor.copy_expert(f"COPY query_thread ({', '.join(COLUMNS)}) FROM STDIN", _Lines(rows))
        # what follows is to be measured as it is on a table that has been there for a while
        cursor.execute(f"{'ANALYZE' if connection.in_atomic_block else 'VACUUM (ANALYZE)'} query_thread")


def _row(project_id: UUID, thread_id: UUID, created_at: datetime, seed: Seed) -> str:
    created = created_at.isoformat()
    updated = seed.updated_at.isoformat() if seed.updated_at and seed.updated_at > created_at else created
    start = f"{thread_id}\t{project_id}\t{created}\t{updated}\t{created}\t{seed.question}\t1"
    asked = f"{'t' if seed.is_uncertain else 'f'}\t\t\t{{}}\t"
    if seed.label is None:
        return f"{start}\t{asked}\t{NULL}\t{NULL}\t{NULL}\t{NULL}\t{NULL}\t0\n"
    confidence = "0.75" if seed.label.source == CategorySource.CLASSIFIER else NULL
    return f"{start}\t{asked}\t{seed.label.category_id or NULL}\t{seed.label.source}\t{confidence}\t{created}\t1\t0\n"


class _Lines(io.TextIOBase):
    """What COPY reads, made as it is read."""

    def __init__(self, rows: Iterator[str]) -> None:
        self._rows = rows

    def read(self, size: int | None = -1) -> str:
        return "".join(islice(self._rows, ROWS_PER_READ))
