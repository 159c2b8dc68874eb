"""How fast the backfill is, measured against what its classifier allows: `python -m benchmarks.backfill --help`.

Seeds threads with different questions, starts real workers on a real broker, and lets them classify all of it. The rate
is taken between the first and the last calls: start-up and drain are told apart. What it is measured against:

    dummy       lanes / latency
    log-normal  lanes / the mean of the latencies that the measured threads had
    free        the rate of one bare UPDATE that labels the same rows, measured before
    embedding   the rate of the bare embedder over the same questions, the mean of before and after; three rounds, as
                neither is the same twice

Ends non-zero when a rate is below its gate, or when there are more database connections than processes and two.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from benchmarks.classifiers import MEAN_VARIABLE, latency_of
from benchmarks.surroundings import Surroundings
from deploy.local.process import Child

if TYPE_CHECKING:
    from teams.models import Project

PROCESSES = 3  # of each worker, as they are deployed
PLAN_EVERY_S = 5.0
WATCH_EVERY_S = 0.25
STALLED_AFTER_S = 120.0
FREE_CONNECTIONS = 2
MARGIN_S = 1.0  # left out at both ends
TEAM = "Benchmark of the backfill"
CLASSIFIERS = {
    "dummy": "dummy",
    "embedding": "embedding",
    "free": "benchmarks.classifiers.FreeClassifier",
    "log-normal": "benchmarks.classifiers.LogNormalClassifier",
}
GATES = {"dummy": 0.95, "log-normal": 0.95, "free": 0.25, "embedding": 0.9}


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement. `seconds` is the latency of a call, for log-normal ones their mean."""

    classifier: str
    threads: int
    lanes: int = 100
    workers: int = 1
    seconds: float = 2.0
    gate: float | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CLASSIFIER": CLASSIFIERS[self.classifier],
            "DUMMY_CLASSIFIER_SECONDS": str(self.seconds),
            MEAN_VARIABLE: str(self.seconds),
            "BACKFILL_LANES": str(self.lanes),
        }

    @property
    def rounds(self) -> int:
        return 3 if self.classifier == "embedding" else 1

    @property
    def needed(self) -> float:
        return GATES[self.classifier] if self.gate is None else self.gate

    def latency_of(self, question: str) -> float:
        return latency_of(question, self.seconds) if self.classifier == "log-normal" else self.seconds

    def __str__(self) -> str:
        latency = f", {self.seconds:g} s" if self.classifier in ("dummy", "log-normal") else ""
        return f"{self.classifier}{latency}, {self.workers} x {self.lanes} lanes, {self.threads} threads"


class Label(NamedTuple):
    """When a label was written, and how long its classifier took by design."""

    at: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """`rate` in threads a second, with every lane filled; `ideal` what it may be at best; connections at most."""

    rate: float
    ideal: float
    start_up_s: float
    drain_s: float
    total_s: float
    connections: int

    @property
    def share(self) -> float:
        return self.rate / self.ideal


QUICK = (
    Case("dummy", threads=4_000, lanes=100, seconds=1.0),
    Case("log-normal", threads=4_000, lanes=100, seconds=0.5),
    Case("free", threads=50_000),
    Case("embedding", threads=4_000),
)
FULL = (
    Case("dummy", threads=10_000),
    Case("dummy", threads=20_000, lanes=500, gate=0.92),
    Case("log-normal", threads=10_000),
    Case("free", threads=1_000_000),
    Case("embedding", threads=10_000),
)


def measure(surroundings: Surroundings, case: Case) -> Measured:
    """Seed, run, and clear up."""
    with seeded_project(case) as project:
        bare = _measure_bare(project, case)
        begun = time.time()
        with started_workers(surroundings, case), watched_connections() as connections:
            started = time.time()
            run = _start_run(project)
            _work_off(run)
            ended = time.time()
        labels = _read_labels(project.pk, case)
        if bare is not None and case.classifier == "embedding":
            bare = (bare + _measure_bare_embedder(project)) / 2
    if len(labels) != case.threads:
        raise SystemExit(f"{case.threads - len(labels)} threads were not labelled")
    rate, ideal = _take_rate(labels, case, bare)
    print(f"   workers were ready after {started - begun:.1f} s", flush=True)
    return Measured(rate, ideal, labels[0].at - started, ended - labels[-1].at, ended - started, max(connections))


def _take_rate(labels: Sequence[Label], case: Case, bare: float | None) -> tuple[float, float]:
    """The rate with every lane filled, and the ideal one."""
    if bare is None:
        return _take_rate_of_waiting(labels, case.lanes * case.workers)
    begin, end = labels[0].at + MARGIN_S, labels[-1].at - MARGIN_S
    inside = sum(begin < label.at <= end for label in labels)
    if not inside:
        raise SystemExit("too few threads: the run was over before it was under way")
    return inside / (end - begin), bare


def _take_rate_of_waiting(labels: Sequence[Label], lanes: int) -> tuple[float, float]:
    """From the share of the time in which lanes were in a call, between the first label and the last call's begin.

    A label is written up to a beat after its call ended: that moves calls a little in time, and changes no length.
    """
    begin, end = labels[0].at, max(label.at - label.latency_s for label in labels)
    if end <= begin:
        raise SystemExit("too few threads: the run was over before it was under way")
    busy_s = sum(max(0.0, min(end, label.at) - max(begin, label.at - label.latency_s)) for label in labels)
    ideal = lanes * len(labels) / sum(label.latency_s for label in labels)
    return ideal * busy_s / (lanes * (end - begin)), ideal


# -- the database -----------------------------------------------------------------------------------------------------


@contextmanager
def seeded_project(case: Case) -> Iterator[Project]:
    from django.utils import timezone

    from benchmarks.seeding import seed_threads
    from teams.models import Project, Team

    team = Team.objects.create(name=TEAM)
    project = Project.objects.create(team=team, name=str(case)[:100])
    try:
        begun = time.monotonic()
        seed_threads(project.pk, case.threads, newest=timezone.now() - timedelta(days=2))
        print(f"   seeded in {time.monotonic() - begun:.1f} s", flush=True)
        yield project
    finally:
        _execute("TRUNCATE teams_team CASCADE")


def _start_run(project: Project) -> Any:
    from categorisation import services
    from categorisation.models import ActorKind
    from categorisation.services import Actor

    return services.start_backfill(project_id=project.pk, actor=Actor(ActorKind.COMMAND, "benchmark"))


def _work_off(run: Any) -> None:
    """What beat does, until the run has nothing left."""
    from categorisation.services import claims, planning

    planned_at = through = 0.0
    moved_at = time.monotonic()
    while claims.has_work_left(run):
        run.refresh_from_db(fields=["done", "failed"])
        if run.done + run.failed > through:
            through, moved_at = run.done + run.failed, time.monotonic()
        if time.monotonic() > moved_at + STALLED_AFTER_S:
            raise SystemExit(f"nothing was labelled for {STALLED_AFTER_S:.0f} s; {through:.0f} threads were before")
        if time.monotonic() >= planned_at + PLAN_EVERY_S:
            planning.plan(begins=False)
            planned_at = time.monotonic()
        time.sleep(WATCH_EVERY_S)


def _read_labels(project_id: UUID, case: Case) -> list[Label]:
    rows = _execute(
        "SELECT extract(epoch FROM categorised_at)::float8, first_question FROM query_thread"
        " WHERE project_id = %s AND category_source = 'classifier' ORDER BY categorised_at",
        [project_id],
    )
    return [Label(at, case.latency_of(question)) for at, question in rows]


def _measure_bare(project: Project, case: Case) -> float | None:
    """Threads a second of what the classifier is measured against; None when that follows from the latencies."""
    if case.classifier == "free":
        return _measure_bare_update(project, case)
    if case.classifier == "embedding":
        return _measure_bare_embedder(project)
    return None


def _measure_bare_update(project: Project, case: Case) -> float:
    """One UPDATE that labels all of them, committed; then the same rows anew."""
    from django.utils import timezone

    from benchmarks.seeding import seed_threads

    category = project.categories.first()
    begun = time.monotonic()
    _execute(
        "UPDATE query_thread SET category_id = %s, category_source = 'classifier', category_confidence = 0.5,"
        " categorised_at = now(), category_taxonomy_version = 1, updated_at = now() WHERE project_id = %s",
        [category.pk, project.pk],
    )
    rate = case.threads / (time.monotonic() - begun)
    _execute("TRUNCATE query_thread CASCADE")
    seed_threads(project.pk, case.threads, newest=timezone.now() - timedelta(days=2))
    _execute("CHECKPOINT")
    return rate


def _measure_bare_embedder(project: Project) -> float:
    from concurrent.futures import ThreadPoolExecutor

    from categorisation.classifiers import EmbeddingClassifier
    from knowledge.embedders import MiniLMEmbedder

    embedder = MiniLMEmbedder()
    embedder.load()
    hints = EmbeddingClassifier(embedder)
    questions = [
        row[0] for row in _execute("SELECT first_question FROM query_thread WHERE project_id = %s", [project.pk])
    ]
    size = hints.questions_per_call
    calls = [questions[start : start + size] for start in range(0, len(questions), size)]
    begun = time.monotonic()
    with ThreadPoolExecutor(hints.calls_at_once) as lanes:
        list(lanes.map(embedder.embed_documents, calls))
    return len(questions) / (time.monotonic() - begun)


def _execute(sql: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


# -- processes --------------------------------------------------------------------------------------------------------


@contextmanager
def started_workers(surroundings: Surroundings, case: Case) -> Iterator[list[Child]]:
    surroundings.start_broker()
    workers = [surroundings.start(_worker(surroundings, number, case.environment)) for number in range(case.workers)]
    try:
        yield workers
    finally:
        surroundings.supervisor.stop_together(workers)


def _worker(surroundings: Surroundings, number: int, environment: Mapping[str, str]) -> Any:
    ready_file = surroundings.folder / f"worker-{number}.ready"
    ready_file.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "celery", "-A", "config", "worker", "-Q", "backfill", "-n", f"backfill-{number}@%h"]
    argv += ["-c", str(PROCESSES), "--without-gossip", "--without-mingle", "--include", "deploy.worker_ready"]
    given = {**environment, "WORKER_READY_FILE": str(ready_file)}
    return surroundings.command(f"worker-{number}", argv, given, ready_file.exists)


@contextmanager
def watched_connections() -> Iterator[list[int]]:
    """How many connections others than this process have to the database, as it was seen now and then."""
    seen, is_over = [0], threading.Event()

    def watch() -> None:
        from django.db import connection

        while not is_over.wait(WATCH_EVERY_S):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND backend_type = 'client backend'"
                )
                row = cursor.fetchone()
                assert row is not None
                seen.append(row[0] - 2)  # this connection, and the main thread's
        connection.close()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()


# -- the report -------------------------------------------------------------------------------------------------------


def report(case: Case, measured: Measured) -> bool:
    """Print it; whether it is within its bounds."""
    allowed = case.workers * PROCESSES + FREE_CONNECTIONS
    is_good = measured.share >= case.needed and measured.connections <= allowed
    print(
        f"   {measured.rate:.1f}/s of {measured.ideal:.1f}/s: {measured.share:.3f} (at least {case.needed:g})"
        f"{'' if is_good else '   BELOW'}\n"
        f"   start-up {measured.start_up_s:.1f} s, drain {measured.drain_s:.1f} s, in all {measured.total_s:.1f} s\n"
        f"   database connections {measured.connections} (at most {allowed})",
        flush=True,
    )
    return is_good


def measure_scaling(surroundings: Surroundings, case: Case, needed: float = 1.9) -> bool:
    """Whether two workers are so many times as fast as one."""
    rates = []
    for workers in (1, 2):
        rates.append(run_case(surroundings, replace(case, workers=workers, threads=case.threads * workers))[0].rate)
    times = rates[1] / rates[0]
    print(f"== two workers are {times:.2f} times as fast as one (at least {needed})", flush=True)
    return times >= needed


def run_case(surroundings: Surroundings, case: Case) -> tuple[Measured, bool]:
    """The middle one of the case's rounds, by its share of the ideal, and whether it is good enough."""
    print(f"== {case}", flush=True)
    rounds = sorted((measure(surroundings, case) for _ in range(case.rounds)), key=lambda measured: measured.share)
    if case.rounds > 1:
        print(
            f"   rounds: {', '.join(f'{each.share:.3f}' for each in rounds)} of the ideal; the middle one:", flush=True
        )
    measured = rounds[len(rounds) // 2]
    return measured, report(case, measured)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", choices=sorted(CLASSIFIERS), help="measure this one alone")
    parser.add_argument("--threads", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="latency of a call, for log-normal the mean")
    parser.add_argument("--lanes", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gate", type=float, help="the least share of the ideal rate")
    parser.add_argument("--quick", action="store_true", help="every classifier, few threads")
    arguments = parser.parse_args()
    for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
        os.environ.pop(name, None)  # tables are emptied here: never somebody else's
    with Surroundings() as surroundings:
        surroundings.prepare_database()
        if arguments.classifier:
            case = Case(
                arguments.classifier,
                arguments.threads,
                arguments.lanes,
                arguments.workers,
                arguments.seconds,
                arguments.gate,
            )
            return 0 if run_case(surroundings, case)[1] else 1
        cases = QUICK if arguments.quick else FULL
        are_good = [run_case(surroundings, case)[1] for case in cases]
        scaling = Case(
            "dummy", threads=1_500 if arguments.quick else 5_000, lanes=50, seconds=1.0 if arguments.quick else 2.0
        )
        are_good.append(measure_scaling(surroundings, scaling))
    return 0 if all(are_good) else 1


if __name__ == "__main__":
    sys.exit(main())
