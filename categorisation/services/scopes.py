"""Which threads a run has to do with, as SQL: one text for what may be claimed, counted and tried again.

Each condition is the predicate of an index (query/models.py), so that a claim reads what it takes and little more.
What a run has finished leaves its condition: a label is no longer null, or no longer older than the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from categorisation.models import ReclassifyScope, Run, RunKind
from query.models import MAX_ATTEMPTS

YOUNG_AGE = timedelta(days=1)  # younger threads are the live window's, older ones a backfill's

_MAY_BE_TRIED = f"t.classify_attempts < {MAX_ATTEMPTS}"
IS_GIVEN_UP = f"t.classify_attempts >= {MAX_ATTEMPTS}"
_IS_DUE = "t.classify_after <= statement_timestamp()"
_UNLABELLED = "t.category_id IS NULL AND t.category_source IS NULL"
UNLABELLED_THREAD = f"{_UNLABELLED} AND {_MAY_BE_TRIED}"
YOUNG = "t.created_at > statement_timestamp() - %(young)s"

_NEWEST_FIRST = "ORDER BY t.created_at DESC, t.id DESC"
_TAKE = "LIMIT %(limit)s FOR UPDATE OF t SKIP LOCKED"


@dataclass(frozen=True, slots=True)
class Scope:
    """`due_sql` selects and locks what may be claimed; the others are FROM and WHERE of what is not finished."""

    table: str
    parameters: dict[str, Any]
    due_sql: str
    open_sql: str
    given_up_sql: str


def describe_scope(run: Run) -> Scope:
    """What a run has to do with."""
    parameters: dict[str, Any] = {"run": run.pk, "project": run.project_id}
    match run.kind:
        case RunKind.PREVIEW:
            where = "t.run_id = %(run)s AND t.draft_position IS NULL"
            return _scope("categorisation_previewthread", parameters, where, "ORDER BY t.id", "t.id, t.thread_id")
        case RunKind.CATEGORY_DELETED:
            return _scope("query_thread", parameters, f"t.classify_run_id = %(run)s AND {_UNLABELLED}", _NEWEST_FIRST)
        case RunKind.RECLASSIFY:
            return _describe_reclassification(run, parameters)
        case _:
            where = (
                f"t.project_id = %(project)s AND {_UNLABELLED} AND t.created_at <= statement_timestamp() - %(young)s"
            )
            return _scope("query_thread", {**parameters, "young": YOUNG_AGE}, where, _NEWEST_FIRST)


def _scope(table: str, parameters: dict[str, Any], where: str, order: str, columns: str = "t.id") -> Scope:
    source = f"FROM {table} t WHERE {where}"
    due = f"SELECT {columns} {source} AND {_MAY_BE_TRIED} AND {_IS_DUE} {order} {_TAKE}"
    return Scope(table, parameters, due, f"{source} AND {_MAY_BE_TRIED}", f"{source} AND {IS_GIVEN_UP}")


def _describe_reclassification(run: Run, parameters: dict[str, Any]) -> Scope:
    """Category by category, the oldest label first: what is done goes to the end of an index on that.

    A deleted category's threads that are still to move to a live one are not claimed, but waited for.
    """
    parameters = {**parameters, "started_at": run.started_at}
    where = "t.project_id = %(project)s AND t.category_source = 'classifier' AND t.categorised_at < %(started_at)s"
    live = "c.project_id = %(project)s AND c.deleted_at IS NULL"
    moving = "c.project_id = %(project)s AND c.emptied_at IS NULL AND c.reassigned_to_id IS NOT NULL"
    if run.scope == ReclassifyScope.STALE:
        where += " AND t.category_taxonomy_version < %(version)s"
        parameters["version"] = run.taxonomy_version
    if run.scope == ReclassifyScope.CATEGORY:
        live += " AND c.id = %(category)s"
        moving += " AND c.reassigned_to_id = %(category)s"
        parameters["category"] = run.category_id
    of_category = f"FROM query_thread t WHERE {where} AND t.category_id = c.id"
    due = f"""
        SELECT due.id FROM categorisation_category c CROSS JOIN LATERAL (
            SELECT t.id {of_category} AND {_MAY_BE_TRIED} AND {_IS_DUE} ORDER BY t.categorised_at {_TAKE}
        ) due WHERE {live} LIMIT %(limit)s
    """
    categories = f"(({live}) OR ({moving}))"
    source = (
        f"FROM query_thread t JOIN categorisation_category c ON c.id = t.category_id WHERE {where} AND {categories}"
    )
    return Scope("query_thread", parameters, due, f"{source} AND {_MAY_BE_TRIED}", f"{source} AND {IS_GIVEN_UP}")
