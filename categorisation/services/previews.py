"""Previews: a sample of a project's threads, classified against a draft of its categories. No label is touched."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count
from django.utils import timezone

from categorisation import composition
from categorisation.models import OPEN_STATES, Category, Run, RunKind, Taxonomy
from categorisation.services import runs
from categorisation.services.batches import fresh_batches
from categorisation.services.history import Actor
from categorisation.services.taxonomies import lock_taxonomy
from query.models import Thread

DEFAULT_SAMPLE_SIZE = 100
MAX_SAMPLE_SIZE = 500
READ_WHOLE = 5_000  # up to so many threads are all looked at; of more a part of the table's blocks is read
OVERSAMPLING = 20  # so many times the sample are read, since neighbours in a block may be alike
WIDENING = 8

_SAMPLE = """
INSERT INTO categorisation_previewthread (run_id, thread_id, current_category_id, classify_attempts)
SELECT %(run)s, t.id, CASE WHEN c.deleted_at IS NULL THEN c.id ELSE c.reassigned_to_id END, 0
FROM query_thread t LEFT JOIN categorisation_category c ON c.id = t.category_id
WHERE t.id = ANY(%(threads)s::uuid[])
FOR KEY SHARE OF t
"""  # the lock: a conversation that is being erased is either gone by now, or is not erased before this is committed
_BLOCKS = "SELECT id FROM query_thread TABLESAMPLE SYSTEM (%s) WHERE project_id = %s"
_ROWS_IN_TABLE = "SELECT greatest(reltuples, 1) FROM pg_class WHERE oid = 'query_thread'::regclass"
_FORGET_SAMPLES = """
DELETE FROM categorisation_previewthread WHERE id IN (
    SELECT p.id FROM categorisation_previewthread p JOIN categorisation_run r ON r.id = p.run_id
    WHERE r.state <> ALL(%(open)s) FOR UPDATE OF p SKIP LOCKED
)
"""
# What a person decided is not classified again, and one question is classified once.
_CLASSIFICATIONS = """
SELECT count(DISTINCT hashtextextended(first_question, 0)) FROM query_thread
WHERE project_id = %s AND category_source IS DISTINCT FROM 'user'
"""


def start_preview(*, project_id: UUID, actor: Actor, draft: Sequence[Mapping[str, Any]], sample_size: int) -> Run:
    """Classify up to `sample_size` threads of the project, chosen at random, against the draft. Raises RunIsOpen."""
    sample = choose_sample(project_id, sample_size)
    with runs.open_once(RunKind.PREVIEW), transaction.atomic():
        run = runs.create_run(
            lock_taxonomy(project_id),
            RunKind.PREVIEW,
            actor,
            draft=[dict(category) for category in draft],
            sample_size=sample_size,
            measured_at=timezone.now(),
        )
        with connection.cursor() as cursor:
            cursor.execute(_SAMPLE, {"run": run.pk, "threads": [str(thread_id) for thread_id in sample]})
            run.total = cursor.rowcount
        run.save(update_fields=["total"])
    return run


def choose_sample(project_id: UUID, size: int) -> list[UUID]:
    """The ids of different threads of the project, at random; all of them when there are no more than `size`."""
    few = list(Thread.objects.filter(project_id=project_id).order_by().values_list("pk", flat=True)[: READ_WHOLE + 1])
    if len(few) <= READ_WHOLE:
        return random.sample(few, min(size, len(few)))
    with connection.cursor() as cursor:
        cursor.execute(_ROWS_IN_TABLE)
        percent = 100 * size * OVERSAMPLING / cursor.fetchone()[0]
        while True:
            cursor.execute(_BLOCKS, [min(percent, 100), project_id])
            found = [row[0] for row in cursor.fetchall()]
            if len(found) >= size * OVERSAMPLING // 4 or percent >= 100:
                return random.sample(found, min(size, len(found)))
            percent *= WIDENING


def finish(run: Run) -> bool:
    """Count what came out and end the run; whether it was still running."""
    return runs.finish_run(run, result=describe_result(run))


def forget_samples() -> None:
    """Delete the samples of previews that are ended, but for rows that a worker still writes: those the next time.

    Not where a preview ends: a worker's write locks its rows before the run, and that has the run locked.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_SAMPLES, {"open": list(OPEN_STATES)})


def describe_result(run: Run) -> dict[str, Any]:
    """The run's `result`, as the contract has it.

    `counts` has each draft category's threads, in the draft's order. `table` has a row for each category that threads
    of the sample show now, their number for each draft category; threads without a category are the row of null.
    `failed` threads are in neither.
    """
    draft = run.draft or []
    rows = run.sample.values_list("current_category", "draft_position").annotate(threads=Count("pk")).order_by()
    counts: Counter[int] = Counter()
    table: dict[UUID | None, list[int]] = {}
    failed = 0
    for current, position, threads in rows:
        if position is None:
            failed += threads
            continue
        counts[position] += threads
        table.setdefault(current, [0] * len(draft))[position] += threads
    classifications = count_classifications(run.project_id)
    return {
        "sample": run.total,
        "failed": failed,
        "counts": [{"title": category["title"], "threads": counts[i]} for i, category in enumerate(draft)],
        "table": _describe_table(table),
        "estimated_classifications": classifications,
        "estimated_seconds": estimate_seconds(run, classifications),
    }


def count_classifications(project_id: UUID) -> int:
    """How many classifications it would take to label the whole project anew."""
    with connection.cursor() as cursor:
        cursor.execute(_CLASSIFICATIONS, [project_id])
        return int(cursor.fetchone()[0])


def estimate_seconds(run: Run, classifications: int) -> float | None:
    """How long so many classifications would take the lanes, as the sample's went; None when none did.

    With as many workers as there are at the moment, or with one when none is seen.
    """
    effort = Run.objects.values_list("result", flat=True).get(pk=run.pk) or {}
    if not effort.get("classified"):
        return None
    seconds_each = float(effort["busy_s"]) / int(effort["classified"])
    return round(seconds_each * classifications / _count_lanes(run.project_id), 1)


def _count_lanes(project_id: UUID) -> int:
    workers = max(1, fresh_batches().values("worker").distinct().count())
    lanes = workers * composition.calls_at_once()
    bound = Taxonomy.objects.values_list("max_lanes", flat=True).filter(project_id=project_id).first()
    return max(1, lanes if bound is None else min(bound, lanes))


def _describe_table(table: Mapping[UUID | None, list[int]]) -> list[dict[str, Any]]:
    titles = dict(Category.objects.filter(pk__in=[pk for pk in table if pk]).values_list("pk", "title"))
    in_order = sorted(table, key=lambda pk: (pk is None, titles.get(pk, "") if pk else ""))
    return [{"current": {"id": str(pk), "title": titles[pk]} if pk else None, "draft": table[pk]} for pk in in_order]
