"""How long a page of threads takes, wherever it lies and whatever it is filtered by: `python -m benchmarks.threads`.

Three projects with --threads threads each: in one a filter meets half of them, in one ten, in one none. The real web
application is asked over HTTP, with a key: the first page, and a page at the end (page 10,000 of a million threads),
turn about. That page's cursor is computed, which makes no difference to the server; that the pages before it lead there
is checked on the first ones. Then the category of half the threads is deleted, and the pages are asked for again while
it is taken off them.

Gates: p95 below 50 ms; the last page at most 1.3 times the first, by medians; the number of a page's database queries
does not depend on where it lies; the deletion answers in 100 ms. Ends non-zero when one is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from benchmarks.surroundings import REPOSITORY, Surroundings

if TYPE_CHECKING:
    from benchmarks.seeding import Mix

PAGE_SIZE = 100
P95_GATE_MS = 50.0
DEEP_GATE = 1.3
NOISE_MS = 2.0  # of a median on a shared machine: no ratio of two pages is judged finer than this
DELETION_GATE_MS = 100.0
SIEVED = {"search", "updated_since"}  # these may ask once more, when what they look for is rare
WARM_UPS = 3
TRIES = 3  # of a page that missed a gate: what else the machine does is not to be judged
HALF_WORD, RARE_WORD, NO_WORD = "halfword", "tenword", "noword"
EMPTY_CATEGORIES = """
import django; django.setup()
from categorisation import services
while not services.empty_categories(20): pass
"""


@dataclass(frozen=True, slots=True)
class SeededProject:
    """A project whose threads a filter meets to a known extent, and who may read it."""

    name: str
    id: UUID
    key: str
    common: UUID
    rare: UUID
    end: str  # the cursor before the last page
    near_end: str  # one with more rows behind it than a page holds, also under a filter that meets half of them

    @property
    def path(self) -> str:
        return f"/query/v1/projects/{self.id}/threads/"


@dataclass(frozen=True, slots=True)
class Case:
    """A page to ask for."""

    name: str
    project: SeededProject
    rows: range  # that the first page may have
    filters: dict[str, str] = field(default_factory=dict)

    @property
    def pages(self) -> tuple[dict[str, str], dict[str, str]]:
        cursor = self.project.near_end if self.filters else self.project.end
        return self.filters, {**self.filters, "cursor": cursor}


def main() -> int:
    arguments = read_arguments()
    misses: list[str] = []
    with Surroundings() as surroundings:
        surroundings.prepare_database()
        now = datetime.now(UTC)
        started = time.perf_counter()
        projects = seed(arguments.threads, now)
        print(
            f"{len(projects)} projects with {arguments.threads:,} threads each in {time.perf_counter() - started:.0f} s"
        )
        cases = list(make_cases(projects, now, arguments.threads))
        with httpx.Client(base_url=surroundings.start_web(), timeout=60) as client:
            check_cursor(client, projects[0])
            misses += ask_all(client, cases, arguments.requests)
            misses += [miss for case in cases for miss in count_queries(case)]
            misses += delete_common(client, projects[0])
            left = [
                case for case in cases if case.project is projects[0] and case.filters.get("category") in (None, "null")
            ]
            misses += ask_while_emptied(client, left, arguments.requests)
    if misses:
        print("Below the gates:", *misses, sep="\n  ", file=sys.stderr)
    return 1 if misses else 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=60, help="of each page")
    return parser.parse_args()


def seed(count: int, now: datetime) -> list[SeededProject]:
    from benchmarks.seeding import Label, Mix

    half = count // 2

    def mixes(common: UUID, rare: UUID) -> Iterator[tuple[str, Mix]]:
        labels = {
            Label(common, "classifier"): half * 4 // 5,
            Label(common, "user"): half - half * 4 // 5,
            Label(rare, "classifier"): 5,
            Label(rare, "user"): 5,
            Label(None, "user"): half // 2,
        }
        words = {HALF_WORD: half, RARE_WORD: 10}
        yield "half", Mix(count, labels=labels, uncertain=half, updated={now: half}, words=words)
        ten = {Label(rare, "user"): 10, Label(common, "classifier"): count - 20}  # ten are left without a label
        yield "ten", Mix(count, labels=ten, uncertain=10, updated={now: 10})
        yield "none", Mix(count)

    return [make_project(place, count, now, mixes) for place in range(3)]


def make_project(
    place: int, count: int, now: datetime, mixes: Callable[[UUID, UUID], Iterator[tuple[str, Mix]]]
) -> SeededProject:
    from benchmarks.seeding import seed_threads
    from teams import services

    project = services.create_project(team_name="benchmark", name=f"Bot {place}")
    common, rare = project.categories.order_by("created_at", "id").values_list("pk", flat=True)[:2]
    name, mix = list(mixes(common, rare))[place]
    seed_threads(project.pk, count, newest=now - timedelta(hours=1), describe=mix)
    _, key = services.create_api_key(project=project, name="benchmark", scopes=["read", "manage"])
    end, near_end = (cursor_after(project.pk, number) for number in (count - PAGE_SIZE, count - count // 50))
    return SeededProject(name, project.pk, key, common, rare, end, near_end)


def cursor_after(project_id: UUID, number: int) -> str:
    """The cursor that the page gives whose last row is the `number`-th."""
    from config.pagination import Cursor
    from query.models import Thread

    last = Thread.objects.filter(project_id=project_id).order_by("-created_at", "-id")[number - 1]
    return Cursor(last.created_at, last.pk).encode()


def make_cases(projects: Sequence[SeededProject], now: datetime, count: int) -> Iterator[Case]:
    half, ten, none = projects
    many, few, nothing = range(PAGE_SIZE, PAGE_SIZE + 1), range(10, 11), range(1)
    middle, future = (moment.isoformat() for moment in (now - timedelta(days=182), now + timedelta(days=1)))
    step = timedelta(days=365) / count
    yield Case("no filter", half, many)
    for name, filters in {
        "category": {"category": str(half.common)},
        "category=null": {"category": "null"},
        "category_source=classifier": {"category_source": "classifier"},
        "category_source=user": {"category_source": "user"},
        "is_uncertain=true": {"is_uncertain": "true"},
        "is_uncertain=false": {"is_uncertain": "false"},
        "updated_since": {"updated_since": now.isoformat()},
        "created_after": {"created_after": middle},
        "created_before": {"created_before": middle},
        "search": {"search": HALF_WORD},
    }.items():
        yield Case(name, half, many, filters)
    for name, filters in {
        "category": {"category": str(ten.rare)},
        "category=null": {"category": "null"},
        "category_source=user": {"category_source": "user"},
        "is_uncertain=true": {"is_uncertain": "true"},
        "updated_since": {"updated_since": now.isoformat()},
        "created_after": {"created_after": (now - timedelta(hours=1) - 9.5 * step).isoformat()},
        "created_before": {"created_before": (now - timedelta(hours=1) - (count - 10.5) * step).isoformat()},
    }.items():
        yield Case(name, ten, few, filters)
    yield Case("category", half, few, {"category": str(half.rare)})
    yield Case("search", half, few, {"search": RARE_WORD})
    for name, filters in {
        "category": {"category": str(none.rare)},
        "category_source=classifier": {"category_source": "classifier"},
        "category_source=user": {"category_source": "user"},
        "is_uncertain=true": {"is_uncertain": "true"},
        "updated_since": {"updated_since": future},
        "created_after": {"created_after": future},
        "created_before": {"created_before": "2000-01-01T00:00:00Z"},
        "search": {"search": NO_WORD},
    }.items():
        yield Case(name, none, nothing, filters)


def check_cursor(client: httpx.Client, project: SeededProject) -> None:
    """The computed cursors are the ones that pages give."""
    page = ask(client, project, {})
    for number in range(1, 21):
        if page["next_cursor"] != cursor_after(project.id, number * PAGE_SIZE):
            raise SystemExit(f"The cursor of page {number + 1} is not what this benchmark takes it for.")
        page = client.get(page["next"], headers={"X-API-KEY": project.key}).raise_for_status().json()


def ask(client: httpx.Client, project: SeededProject, query: dict[str, str]) -> Any:
    return client.get(project.path, params=query, headers={"X-API-KEY": project.key}).raise_for_status().json()


def ask_all(client: httpx.Client, cases: Sequence[Case], requests: int) -> list[str]:
    print(f"{'filter':28}{'meets':>6}{'first p50':>11}{'p95':>7}{'end p50':>9}{'p95':>7}{'ratio':>7}   (ms)")
    return [miss for case in cases for miss in ask_case(client, case, requests)]


def ask_case(client: httpx.Client, case: Case, requests: int, *, is_ratio_judged: bool = True) -> list[str]:
    for _ in range(TRIES):
        misses = judge(case, measure(client, case, requests), is_ratio_judged=is_ratio_judged)
        if not misses:
            break
    return misses


def measure(client: httpx.Client, case: Case, requests: int) -> tuple[list[float], list[float]]:
    """How long the first page and the one at the end took, in ms, asked for turn about."""
    latencies_ms: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARM_UPS + requests):
        for taken, query in zip(latencies_ms, case.pages, strict=True):
            started = time.perf_counter()
            page = ask(client, case.project, query)
            taken.append((time.perf_counter() - started) * 1000)
            if query is case.filters and len(page["results"]) not in case.rows:
                raise SystemExit(f"{case.name} ({case.project.name}): {len(page['results'])} rows, not {case.rows}")
    return latencies_ms[0][WARM_UPS:], latencies_ms[1][WARM_UPS:]


def judge(case: Case, latencies_ms: tuple[list[float], list[float]], *, is_ratio_judged: bool) -> list[str]:
    (first, first_p95), (end, end_p95) = map(median_and_p95, latencies_ms)
    ratio = end / first
    row = f"{case.name:28}{case.project.name:>6}{first:11.1f}{first_p95:7.1f}{end:9.1f}{end_p95:7.1f}{ratio:7.2f}"
    print(row, flush=True)
    name = f"{case.name} ({case.project.name})"
    misses = [f"{name}: p95 {p95:.0f} ms" for p95 in (first_p95, end_p95) if p95 >= P95_GATE_MS]
    if is_ratio_judged and ratio > DEEP_GATE and end - first > NOISE_MS:
        misses.append(f"{name}: the page at the end takes {ratio:.2f} times the first")
    return misses


def median_and_p95(latencies_ms: Sequence[float]) -> tuple[float, float]:
    return statistics.median(latencies_ms), sorted(latencies_ms)[int(len(latencies_ms) * 0.95)]


def count_queries(case: Case) -> list[str]:
    """Ask in this process, and count what the database is asked: the same for every page and every length."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from rest_framework.test import APIClient

    client = APIClient(headers={"X-API-KEY": case.project.key})
    counts = set()
    for query in (*case.pages, {**case.filters, "page_size": "1"}):
        client.get(case.project.path, query)  # a key's use is noted now and then
        with CaptureQueriesContext(connection) as captured:
            client.get(case.project.path, query)
        counts.add(len(captured))
    allowed = 1 if SIEVED & case.filters.keys() else 0
    if max(counts) - min(counts) <= allowed:
        return []
    return [f"{case.name} ({case.project.name}): {sorted(counts)} queries"]


def delete_common(client: httpx.Client, project: SeededProject) -> list[str]:
    started = time.perf_counter()
    path = f"/query/v1/projects/{project.id}/categories/{project.common}/"
    client.delete(path, headers={"X-API-KEY": project.key}).raise_for_status()
    taken_ms = (time.perf_counter() - started) * 1000
    print(f"The category of half the threads is deleted in {taken_ms:.0f} ms")
    return [f"deletion: {taken_ms:.0f} ms"] if taken_ms >= DELETION_GATE_MS else []


def ask_while_emptied(client: httpx.Client, cases: Sequence[Case], requests: int) -> list[str]:
    """The pages once more: before anything is taken off, while it is, and when it is done."""
    misses = ask_all(client, [any_number_of(case) for case in cases], requests)
    process = subprocess.Popen([sys.executable, "-c", EMPTY_CATEGORIES], cwd=REPOSITORY)
    started = time.perf_counter()
    rounds = 0
    try:
        while process.poll() is None or not rounds:
            print(f"-- while it is taken off, {time.perf_counter() - started:.0f} s after the beginning")
            for case in map(any_number_of, cases):
                misses += ask_case(client, case, requests, is_ratio_judged=False)
            rounds += 1
    finally:
        process.kill()
        process.wait()
    print(f"Taken off within {time.perf_counter() - started:.0f} s")
    return misses


def any_number_of(case: Case) -> Case:
    return Case(case.name, case.project, range(PAGE_SIZE + 1), case.filters)


if __name__ == "__main__":
    sys.exit(main())
