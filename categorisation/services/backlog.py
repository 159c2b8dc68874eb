"""How much waits to be labelled, and for how long: figures for operators, over all projects.

Every count ends at MOST, so that what it costs does not grow with what waits: some 15 ms for 100,000, read from the
index that claims use. How much a run has left stands in its row, to the last thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from django.db import connection
from django.db.models import Count, F, Sum, Value
from django.db.models.functions import Greatest

from categorisation import composition
from categorisation.models import OPEN_STATES, Run
from categorisation.services.scopes import IS_GIVEN_UP, UNLABELLED_THREAD, YOUNG, YOUNG_AGE

MOST = 100_000
Age = Literal["live", "old"]
_AGES: dict[Age, str] = {"live": YOUNG, "old": f"NOT ({YOUNG})"}
# project by project, as the index goes; those that nobody classifies wait for nothing
_PROJECTS = """
    FROM categorisation_taxonomy x CROSS JOIN LATERAL ({of_project}) t
    WHERE x.is_enabled AND EXISTS (
        SELECT FROM categorisation_category c WHERE c.project_id = x.project_id AND c.deleted_at IS NULL
    )
"""
_THREADS = f"""
    SELECT t.created_at FROM query_thread t WHERE t.project_id = x.project_id AND {UNLABELLED_THREAD} AND {{age}}
"""
_COUNT = f"SELECT count(*) FROM (SELECT {_PROJECTS.format(of_project=f'{_THREADS} LIMIT %(most)s')} LIMIT %(most)s) w"
_OLDEST = f"""
    SELECT extract(epoch FROM statement_timestamp() - min(t.created_at))::float8
    {_PROJECTS.format(of_project=f"{_THREADS} ORDER BY t.created_at, t.id LIMIT 1")}
"""
_GIVEN_UP = f"SELECT count(*) FROM (SELECT FROM query_thread t WHERE {IS_GIVEN_UP} LIMIT %(most)s) w"


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """How many threads wait (MOST: at least so many), and for how many seconds the oldest does; 0 when none does."""

    threads: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class OpenRuns:
    """How many runs of a kind are in a state, and how many threads they have left together."""

    kind: str
    state: str
    runs: int
    threads_left: int


def count_unlabelled() -> dict[Age, Unlabelled]:
    """What the sweeper (`live`) and runs (`old`) have before them; nothing while classification is switched off."""
    if not composition.classification_is_enabled():
        return dict.fromkeys(_AGES, Unlabelled(0, 0.0))
    return {
        name: Unlabelled(int(_read(_COUNT.format(age=age))), float(_read(_OLDEST.format(age=age)) or 0.0))
        for name, age in _AGES.items()
    }


def count_given_up() -> int:
    """Threads that failed too often, and wait for somebody to try them again."""
    return int(_read(_GIVEN_UP))


def count_open_runs() -> list[OpenRuns]:
    """By kind and state."""
    left = Greatest(F("total") - F("done") - F("failed"), Value(0))
    grouped = Run.objects.filter(state__in=OPEN_STATES).order_by().values_list("kind", "state")
    rows = grouped.annotate(runs=Count("pk"), threads=Sum(left))
    return [OpenRuns(kind, state, runs, threads or 0) for kind, state, runs, threads in rows]


def _read(query: str) -> Any:
    parameters: dict[str, Any] = {"most": MOST, "young": YOUNG_AGE}
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchone()[0]
