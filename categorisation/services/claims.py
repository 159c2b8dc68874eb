"""Who may classify a thread, and when: one column says from when it may be claimed, one counts failures.

A claim moves `classify_after` to the end of its lease, so that whoever dies with a claim loses it by itself, and ten
deliveries of one message work once. The same moment fences the claim's own later writes: when it has changed, somebody
else has the thread, and a failure or a release that comes late changes nothing. A preview's threads bear these columns
a second time, in their row of the sample, because the threads themselves stay untouched.

`classify_after` stands in no index: a claim is a HOT update, and the rows that are not due yet are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from categorisation import composition
from categorisation.models import Run, RunKind
from categorisation.services import scopes
from categorisation.services.scopes import UNLABELLED_THREAD, YOUNG, describe_scope
from query.models import MAX_ATTEMPTS, Thread

# Given up. Not PostgreSQL's infinity: Python's datetime has no such value, and the driver's stand-in for it, the last
# moment of the year 9999, overflows when it is moved to another time zone.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


class Claim(NamedTuple):
    """The right to classify a thread until `lease_ends_at`.

    `category_id` is the label that stands there meanwhile, when it is computed anew; `preview_id` the run of whose
    sample the thread is claimed.
    """

    thread_id: UUID
    project_id: UUID
    question: str
    attempts: int
    lease_ends_at: datetime
    category_id: UUID | None = None
    preview_id: UUID | None = None


# -- claiming ---------------------------------------------------------------------------------------------------------

_LEASE = "SET classify_after = statement_timestamp() + %(lease)s"
_CLAIMED = "t.id, t.project_id, t.first_question, t.classify_attempts, t.classify_after, t.category_id"
_CLAIM = f"""
    , claimed AS (
        UPDATE query_thread t {_LEASE} FROM due WHERE t.id = due.id RETURNING {_CLAIMED}, t.created_at AS begun_at
    )
    SELECT {_CLAIMED} FROM claimed t ORDER BY begun_at DESC
"""
_CLAIM_SAMPLE = f"""
    UPDATE categorisation_previewthread p {_LEASE} FROM due JOIN query_thread t ON t.id = due.thread_id
    WHERE p.id = due.id
    RETURNING t.id, t.project_id, t.first_question, p.classify_attempts, p.classify_after, NULL::uuid, p.run_id
"""
_MAY_BE_CLASSIFIED = """
    EXISTS (SELECT FROM categorisation_taxonomy x WHERE x.project_id = t.project_id AND x.is_enabled)
    AND EXISTS (SELECT FROM categorisation_category c WHERE c.project_id = t.project_id AND c.deleted_at IS NULL)
"""
_CLAIM_ONE = f"""
    WITH due AS (
        SELECT t.id FROM query_thread t
        WHERE t.id = %(thread)s AND {UNLABELLED_THREAD} AND t.classify_after <= statement_timestamp()
            AND {_MAY_BE_CLASSIFIED}
        FOR UPDATE OF t SKIP LOCKED
    ) {_CLAIM}
"""
# Projects in any order, and no more of one than its share, so that one with many threads leaves room for the others.
_CLAIM_YOUNG = f"""
    WITH due AS (
        SELECT young.id
        FROM (
            SELECT t.project_id FROM categorisation_taxonomy t WHERE {_MAY_BE_CLASSIFIED} ORDER BY random()
        ) project
        CROSS JOIN LATERAL (
            SELECT t.id FROM query_thread t
            WHERE t.project_id = project.project_id AND {UNLABELLED_THREAD} AND {YOUNG}
                AND t.classify_after <= statement_timestamp()
            ORDER BY t.created_at DESC, t.id DESC
            LIMIT %(share)s
            FOR UPDATE OF t SKIP LOCKED
        ) young
        LIMIT %(limit)s
    ) {_CLAIM}
"""

_YOUNG_ARE_DUE = f"""
    SELECT FROM categorisation_taxonomy x
    WHERE x.is_enabled AND EXISTS (
        SELECT FROM query_thread t
        WHERE t.project_id = x.project_id AND {UNLABELLED_THREAD} AND {YOUNG}
            AND t.classify_after <= statement_timestamp() AND {_MAY_BE_CLASSIFIED}
    ) LIMIT 1
"""


def claim_thread(thread_id: UUID) -> Claim | None:
    """The claim, or None when the thread is not due: labelled, claimed, pausing, given up, or switched off."""
    claims = _claim(_CLAIM_ONE, {"thread": thread_id})
    return claims[0] if claims else None


def claim_young_threads(limit: int, *, share: int) -> list[Claim]:
    """Claims on unlabelled threads of the last day, the newest of each project first, at most `share` of any."""
    return _claim(_CLAIM_YOUNG, {"limit": limit, "share": share, "young": scopes.YOUNG_AGE})


def are_young_threads_due() -> bool:
    """Whether `claim_young_threads` would find any."""
    parameters: dict[str, Any] = {"young": scopes.YOUNG_AGE}
    with connection.cursor() as cursor:
        cursor.execute(_YOUNG_ARE_DUE, parameters)
        return composition.classification_is_enabled() and cursor.fetchone() is not None


@transaction.atomic
def claim_for_run(run: Run, limit: int) -> list[Claim]:
    """Claims on what a run has to do with, in its order; no more than its own `limit` leaves."""
    limit = min(limit, _lock_what_is_left(run))
    if limit <= 0:
        return []
    scope = describe_scope(run)
    claim = _CLAIM_SAMPLE if run.kind == RunKind.PREVIEW else _CLAIM
    claims = _claim(f"WITH due AS ({scope.due_sql}) {claim}", {**scope.parameters, "limit": limit})
    if claims and run.limit is not None:
        Run.objects.filter(pk=run.pk).update(claimed=F("claimed") + len(claims))
    return claims


def _lock_what_is_left(run: Run) -> int:
    if run.limit is None:
        return 2**31
    claimed = Run.objects.select_for_update().values_list("claimed", flat=True).filter(pk=run.pk).first()
    return 0 if claimed is None else run.limit - claimed


def _claim(sql: str, parameters: dict[str, Any]) -> list[Claim]:
    if not composition.classification_is_enabled():
        return []
    parameters = {**parameters, "lease": composition.pacing().lease}
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [Claim(*row) for row in cursor.fetchall()]


# -- giving back ------------------------------------------------------------------------------------------------------

# Times are the database's: workers' clocks may differ.
_GIVE_BACK = """
    UPDATE {table} t
    SET classify_attempts = c.attempts,
        classify_after = CASE
            WHEN c.attempts >= %(max_attempts)s THEN %(never)s ELSE statement_timestamp() + c.pause
        END
    FROM unnest(%(ids)s::uuid[], %(leases)s::timestamptz[], %(pauses)s::interval[], %(attempts)s::int[])
        AS c (thread_id, lease_ends_at, pause, attempts)
    WHERE {key} AND t.classify_after = c.lease_ends_at
"""
_GIVE_BACK_THREADS = _GIVE_BACK.format(
    table="query_thread", key="t.id = c.thread_id AND t.category_source IS DISTINCT FROM 'user'"
)
_GIVE_BACK_SAMPLE = _GIVE_BACK.format(
    table="categorisation_previewthread",
    key="t.run_id = %(preview)s AND t.thread_id = c.thread_id AND t.draft_position IS NULL",
)
NO_PAUSE = timedelta(0)


def release(claims: Iterable[Claim]) -> None:
    """Give threads back: they are due at once."""
    postpone(claims, NO_PAUSE)


def postpone(claims: Iterable[Claim], pause: timedelta) -> None:
    """Give threads back for later, without counting an attempt: the fault is not theirs."""
    _give_back([(claim, pause, claim.attempts) for claim in claims])


def count_failures(claims: Iterable[Claim]) -> int:
    """Count an attempt of each and pause it for longer each time; how many attempts were the last, and are given up."""
    pauses = (*composition.pacing().pauses, NO_PAUSE)
    failed = [(claim, pauses[min(claim.attempts, len(pauses) - 1)], claim.attempts + 1) for claim in claims]
    _give_back(failed)
    return sum(attempts >= MAX_ATTEMPTS for _, _, attempts in failed)


def forgive_attempts(thread_ids: Sequence[UUID], pause: timedelta) -> None:
    """Give back the attempt that each was counted last, and have it wait: the fault was the classifier's.

    What was given up meanwhile stays so: its run has counted it.
    """
    threads = [str(thread_id) for thread_id in thread_ids]
    parameters: dict[str, Any] = {"pause": pause, "threads": threads, "most": MAX_ATTEMPTS - 1}
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE query_thread SET classify_attempts = classify_attempts - 1,"
            " classify_after = statement_timestamp() + %(pause)s"
            " WHERE id = ANY(%(threads)s::uuid[]) AND classify_attempts BETWEEN 1 AND %(most)s"
            " AND category_source IS DISTINCT FROM 'user'",
            parameters,
        )


def _give_back(returns: Sequence[tuple[Claim, timedelta, int]]) -> None:
    """Returns come as (claim, pause, attempts)."""
    for preview_id in {claim.preview_id for claim, _, _ in returns}:
        rows = [row for row in returns if row[0].preview_id == preview_id]
        parameters: dict[str, Any] = {
            "ids": [str(claim.thread_id) for claim, _, _ in rows],
            "leases": [claim.lease_ends_at for claim, _, _ in rows],
            "pauses": [pause for _, pause, _ in rows],
            "attempts": [attempts for _, _, attempts in rows],
            "preview": preview_id,
            "max_attempts": MAX_ATTEMPTS,
            "never": NEVER,
        }
        with connection.cursor() as cursor:
            cursor.execute(_GIVE_BACK_THREADS if preview_id is None else _GIVE_BACK_SAMPLE, parameters)


# -- what a run has left ----------------------------------------------------------------------------------------------


_IN_HAND = "t.classify_after BETWEEN statement_timestamp() AND statement_timestamp() + %(lease)s"


def has_work_left(run: Run) -> bool:
    """Whether anything of the run's may be claimed now or later: what is leased or pausing counts, given up not.

    Of a run with a `limit` that was claimed in full, only what is still leased counts.
    """
    scope = describe_scope(run)
    sql = f"SELECT EXISTS (SELECT {scope.open_sql}"
    if run.limit is not None and run.claimed >= run.limit:
        sql += f" AND {_IN_HAND}"
    return bool(_read_value(f"{sql})", {**scope.parameters, "lease": composition.pacing().lease}))


@transaction.atomic
def correct_claimed(run: Run) -> None:
    """Of a run with a `limit` that looks claimed in full, find out what really came through or is in somebody's hand.

    What a worker gave back or died with counts no more. A thread that pauses for less than a lease still does, for the
    time being.
    """
    locked = Run.objects.select_for_update().filter(pk=run.pk).first()
    if locked is None or locked.limit is None or locked.claimed < locked.limit:
        return
    scope = describe_scope(run)
    in_hand = _read_value(
        f"SELECT count(*) {scope.open_sql} AND {_IN_HAND}",
        {**scope.parameters, "lease": composition.pacing().lease},
    )
    claimed = min(locked.claimed, locked.done + locked.failed + in_hand)
    if claimed != locked.claimed:
        Run.objects.filter(pk=run.pk).update(claimed=claimed)
    run.claimed = claimed


def count_threads(run: Run) -> int:
    """How many threads the run has to do with; without those that were given up before."""
    scope = describe_scope(run)
    found = int(_read_value(f"SELECT count(*) {scope.open_sql}", scope.parameters))
    return found if run.limit is None else min(found, run.limit)


def retry_given_up(run: Run) -> int:
    """Give what was given up in the run's scope all attempts anew; how many threads that were."""
    scope = describe_scope(run)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {scope.table} SET classify_attempts = 0, classify_after = statement_timestamp()"
            f" WHERE id IN (SELECT t.id {scope.given_up_sql})",
            scope.parameters,
        )
        return int(cursor.rowcount)


def retry_classification(threads: QuerySet[Thread]) -> int:
    """Make unlabelled threads, given up or pausing, due at once with all attempts before them; how many there were."""
    unlabelled = threads.filter(category=None, category_source=None, classify_attempts__gt=0)
    return unlabelled.update(classify_after=Now(), classify_attempts=0)


def _read_value(sql: str, parameters: dict[str, Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
        assert row is not None
        return row[0]
