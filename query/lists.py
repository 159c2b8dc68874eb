"""A page of a project's threads under any filter, read by an index that has the page's order.

Most filters have an index of their own with the rows in order. Two kinds are helped along here.

A label that is shown may be one of several that rows bear. thread_by_label has the rows of each in order, so as many
of each as a page holds are read, in one statement, and the newest of these are the page.

What no index has in order is sieved: words, which an inverted index finds, changes since a moment, and a second filter
beside a label. What most threads meet is found fastest by walking down the list, what few meet by another index; and
the planner, who counts all projects together and does not know where in the list they lie, is wrong by seconds. So a
short stretch of the list is walked; when that does not fill the page, it is rare there, and the other index answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db.models import F, Q, QuerySet, TextField, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Concat

from query.models import FIRST_QUESTION_WORDS, Thread
from query.selectors import Label

WALKED_PER_ROW = 10  # what is rarer than this in the walk is left to the other index
SHORTEST_WALK = 1_000
# What sieves look at: as an index has it, and so that none can tempt the planner away from the few rows of a walk.
WITH_AN_INDEX = {"words": FIRST_QUESTION_WORDS, "updated": F("updated_at"), "uncertain": F("is_uncertain")}
WITHOUT_AN_INDEX = {
    "words": SearchVector(Concat("first_question", Value(""), output_field=TextField()), config="simple"),
    "updated": F("updated_at") + timedelta(0),
    "uncertain": Coalesce("is_uncertain", Value(False)),
}


FOREVER = datetime.max.replace(tzinfo=UTC)


def _hidden(moment: datetime) -> RawSQL:
    """A moment that the planner does not see, so that it takes a range of two for a few rows and their index for the
    way to them. Statistics are of all projects: where another one's threads have just been labelled anew, it would
    read the whole table for ten of this one's."""
    return RawSQL("(SELECT %s::timestamptz)", [moment])


@dataclass(frozen=True, slots=True)
class ThreadList:
    """Some threads of one project: those of `threads`, which an index has in order.

    `labels` are the ones that they may bear (None: any), `words` what their first question must hold.
    """

    threads: QuerySet[Thread]
    labels: Sequence[Label] | None = None
    is_uncertain: bool | None = None
    updated_since: datetime | None = None
    words: str | None = None

    def with_labels(self, labels: Sequence[Label] | None) -> ThreadList:
        return replace(self, labels=labels)

    def read(self, beyond: Q, ordering: tuple[str, str], length: int) -> list[Thread]:
        """The first `length` of those that meet `beyond`, by `created_at` and `id`, both up or both down."""
        sieves = self._sieves()
        if not sieves:
            return list(self._in_order(beyond, ordering, length))
        return self._walk(sieves, beyond, ordering, length) or self._look_up(sieves, beyond, ordering, length)

    def _sieves(self) -> list[Q]:
        sieves = []
        if self.words is not None:
            query = SearchQuery(self.words, config="simple", search_type="plain")
            sieves.append(Q(words=query))
        if self.updated_since is not None:
            sieves.append(Q(updated__range=(_hidden(self.updated_since), _hidden(FOREVER))))
        if self.is_uncertain is not None and self.labels is not None:
            sieves.append(Q(uncertain=self.is_uncertain))
        return sieves

    def _in_order(self, beyond: Q, ordering: tuple[str, str], length: int) -> QuerySet[Thread]:
        threads = self.threads.filter(beyond)
        if self.labels is None:
            if self.is_uncertain is not None:
                threads = threads.filter(is_uncertain=self.is_uncertain)
            return threads.order_by(*ordering)[:length]
        # What is constant in a part leads its order: PostgreSQL does not see that IS NULL leaves nothing to order.
        sign = "" if ordering[0].startswith("-") else "-"
        ordered = threads.order_by(f"{sign}category_id", f"{sign}category_source", *ordering).select_related(None)
        parts = [
            ordered.filter(category=category_id, category_source=source).values("pk")[:length]
            for category_id, source in self.labels
        ]
        if not parts:
            return threads.none()
        keys = parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0]
        return self.threads.filter(pk__in=keys).order_by(*ordering)[:length]

    def _walk(self, sieves: Sequence[Q], beyond: Q, ordering: tuple[str, str], length: int) -> list[Thread]:
        """A full page out of the next rows of the list; nothing when they do not fill one."""
        near = self._in_order(beyond, ordering, max(SHORTEST_WALK, WALKED_PER_ROW * length))
        rows = self.threads.filter(pk__in=near.select_related(None).values("pk")).alias(**WITHOUT_AN_INDEX)
        found = list(rows.filter(*sieves).order_by(*ordering)[:length])
        return found if len(found) == length else []

    def _look_up(self, sieves: Sequence[Q], beyond: Q, ordering: tuple[str, str], length: int) -> list[Thread]:
        threads = self.threads.filter(beyond, self._has_label()).alias(**WITH_AN_INDEX).filter(*sieves)
        if self.is_uncertain is not None:
            threads = threads.filter(is_uncertain=self.is_uncertain)
        # a sum is in the order of no index: nothing tempts the planner to walk
        column, row_id = ordering
        at = F(column.removeprefix("-")) + timedelta(0)
        return list(threads.order_by(at.desc() if column.startswith("-") else at.asc(), row_id)[:length])

    def _has_label(self) -> Q:
        if self.labels is None:
            return Q()
        any_of_them = Q(pk__in=[])
        for category_id, source in self.labels:
            any_of_them |= Q(category=category_id, category_source=source)
        return any_of_them
