"""Classifiers' labels are written here: in bulk, each only where nobody else decided meanwhile.

A write is one transaction of one project. It locks the categories FOR SHARE, so that none is deleted before it commits,
then writes by ONE conditional UPDATE. PostgreSQL evaluates its condition again on a row as it is when the lock is had,
so a person's decision that was committed in the meantime stands. What changes a category goes into the history in the
same statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from categorisation.services.labels import lock_live_categories


class NewLabel(NamedTuple):
    """What a classifier found for a thread; `replaces` is the classifier's older label that it is to take the place of,
    None for an unlabelled thread."""

    thread_id: UUID
    category_id: UUID
    confidence: float
    replaces: UUID | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What was not written: threads on which somebody else decided, or that are gone; threads whose new category is
    gone, to be computed again."""

    superseded: frozenset[UUID]
    dropped: frozenset[UUID]

    @property
    def is_complete(self) -> bool:
        return not self.superseded and not self.dropped


_WRITE = """
    WITH computed AS MATERIALIZED (
        SELECT * FROM
            unnest(%(threads)s::uuid[], %(categories)s::uuid[], %(confidences)s::float8[], %(replaced)s::uuid[])
            AS c (thread_id, category_id, confidence, replaces)
    ), labelled AS (
        UPDATE query_thread t
        SET category_id = c.category_id, category_source = 'classifier', category_confidence = c.confidence,
            categorised_at = statement_timestamp(), category_taxonomy_version = %(version)s,
            classify_after = statement_timestamp(), classify_attempts = 0, classify_run_id = NULL,
            updated_at = statement_timestamp()
        FROM computed c
        WHERE t.id = c.thread_id AND t.project_id = %(project)s AND {is_as_claimed}
        RETURNING t.id, c.category_id, c.replaces
    ), recorded AS (
        INSERT INTO categorisation_labelchange
            (thread_id, at, from_category_id, from_source, to_category_id, to_source, actor_kind, actor, run_id)
        SELECT id, statement_timestamp(), replaces, {from_source}, category_id, 'classifier', 'classifier', %(actor)s,
            %(run)s::uuid
        FROM labelled WHERE category_id IS DISTINCT FROM replaces
    )
    SELECT c.thread_id FROM computed c WHERE c.thread_id NOT IN (SELECT id FROM labelled)
"""
_WRITE_FIRST = _WRITE.format(is_as_claimed="t.category_id IS NULL AND t.category_source IS NULL", from_source="NULL")
_WRITE_AGAIN = _WRITE.format(
    is_as_claimed="t.category_source = 'classifier' AND t.category_id = c.replaces", from_source="'classifier'"
)
_WRITE_SAMPLE = """
    UPDATE categorisation_previewthread p SET draft_position = c.position
    FROM unnest(%(threads)s::uuid[], %(positions)s::int[]) AS c (thread_id, position)
    WHERE p.run_id = %(run)s AND p.thread_id = c.thread_id AND p.draft_position IS NULL
"""


@transaction.atomic
def write_labels(
    project_id: UUID,
    labels: Sequence[NewLabel],
    *,
    taxonomy_version: int,
    classifier_version: str,
    run_id: UUID | None = None,
) -> Written:
    """Label those of the project's threads that are as they were claimed: unlabelled, or with the label to replace."""
    categories = {label.category_id for label in labels}
    gone = categories - lock_live_categories(project_id, categories)
    dropped = frozenset(label.thread_id for label in labels if label.category_id in gone) if gone else frozenset()
    # By id, so that two writers of the same rows come one after another instead of in each other's way.
    writable = sorted(labels, key=lambda label: label.thread_id.int)
    if gone:
        writable = [label for label in writable if label.category_id not in gone]
    superseded: set[UUID] = set()
    for sql, part in (
        (_WRITE_FIRST, [label for label in writable if label.replaces is None]),
        (_WRITE_AGAIN, [label for label in writable if label.replaces is not None]),
    ):
        if part:
            common = {"project": project_id, "version": taxonomy_version, "actor": classifier_version, "run": run_id}
            superseded |= _write(sql, part, common)
    return Written(frozenset(superseded), dropped)


def write_sample(run_id: UUID, positions: dict[UUID, int]) -> None:
    """Record which category of a preview's draft threads of its sample would get."""
    with connection.cursor() as cursor:
        threads = [str(thread_id) for thread_id in positions]
        cursor.execute(_WRITE_SAMPLE, {"threads": threads, "positions": list(positions.values()), "run": run_id})


def as_array(values: Iterable[UUID | float | str]) -> str:
    """PostgreSQL's text of an array of values that need no quotes: far cheaper than the driver's, one by one."""
    return f"{{{','.join(map(str, values))}}}"


def _write(sql: str, labels: Sequence[NewLabel], common: dict[str, Any]) -> set[UUID]:
    """The threads that were not as expected."""
    arrays = {
        "threads": as_array(label.thread_id for label in labels),
        "categories": as_array(label.category_id for label in labels),
        "confidences": as_array(label.confidence for label in labels),
        "replaced": as_array(label.replaces or "NULL" for label in labels),
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, {**common, **arrays})
        return {row[0] for row in cursor.fetchall()}
