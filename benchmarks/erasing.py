"""What it costs to erase a million conversations beside everything else: `python -m benchmarks.erasing --help`.

A web server as it is deployed, its workers, beat, and a project of a million conversations with two answers and a label
each, which from now on keeps them for a year: all but a few are older. Until they are erased, pages of that project's
list and of another one's are asked for, and chats of the other one, one after the other; of each chat it is told how
long its label takes. Then one person's few conversations are looked for among a million of the other project's, by
`manage.py erase`.

Gates: a page's p95 while they are erased is at most twice that before, or 50 ms; no chat takes a second; labels come
within five. Ends non-zero when one is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from benchmarks.deletion import Latencies, report, timed
from benchmarks.surroundings import REPOSITORY, Surroundings
from benchmarks.whole_service import QUESTION, WholeService, make_bot

if TYPE_CHECKING:
    from uuid import UUID

PAGE_P95_GATE_MS, PAGE_RATIO_GATE = 50.0, 2.0
CHAT_GATE_MS = 1_000.0
LABEL_GATE_S = 5.0
ROUNDS_BEFORE = 60
WARM_UPS = 5
PROGRESS_EVERY_S = 10.0
TIMEOUT_S = 3_600.0
YOUNG = 100  # of the conversations stay
EMAIL = "ada@example.com"

ANSWERS = """
INSERT INTO query_questionanswer (
    id, thread_id, question, standalone_question, answer, is_uncertain, relevant_sources, timings, created_at
)
SELECT gen_random_uuid(), t.id, t.first_question, t.first_question, repeat('You do it like this [1]. ', 12), false,
    '[{"title": "Guide", "source_url": "https://example.com", "snippet": "You do it like this."}]', '{}', t.created_at
FROM query_thread t, generate_series(1, 2) WHERE t.project_id = %(project)s
"""
LABELS = """
INSERT INTO categorisation_labelchange (thread_id, at, to_category_id, to_source, actor_kind, actor)
SELECT id, created_at, category_id, category_source, 'classifier', 'dummy-1'
FROM query_thread WHERE project_id = %(project)s AND category_id IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A project whose conversations are erased, another one that is asked meanwhile, and a client of each."""

    erased: httpx.Client
    other: httpx.Client
    erased_id: UUID
    other_id: UUID

    @property
    def pages(self) -> Mapping[str, tuple[httpx.Client, UUID]]:
        return {"page of it": (self.erased, self.erased_id), "page of another": (self.other, self.other_id)}


def main() -> int:
    arguments = read_arguments()
    for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
        os.environ.pop(name, None)  # never somebody else's conversations
    environment = {"CLASSIFIER": "dummy", "DUMMY_CLASSIFIER_SECONDS": "0.05"}
    with Surroundings() as surroundings:
        service = WholeService(surroundings, environment)
        base_url = service.start_web()
        scene = seed(base_url, arguments.threads)
        service.start_worker("live,mail", processes=3)
        service.start_worker("backfill", processes=3, is_nice=True)
        service.start_beat()
        misses = measure(scene, arguments.threads) + erase_person(scene)
    if misses:
        print("Below the gates:", *misses, sep="\n  ", file=sys.stderr)
    return 1 if misses else 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1_000_000, help="of each of the two projects")
    return parser.parse_args()


def seed(base_url: str, count: int) -> Scene:
    from django.db import connection

    from benchmarks.seeding import Label, Mix, seed_threads

    clients, ids = [], []
    for name, newest in (("Old bot", timedelta(days=400)), ("Bot", timedelta(days=2))):
        project, key = make_bot(name, ["chat", "read"])
        label = Label(project.categories.order_by("created_at", "id")[0].pk, "classifier")
        seed_threads(project.pk, count, newest=datetime.now(UTC) - newest, describe=Mix(count, labels={label: count}))
        clients.append(httpx.Client(base_url=base_url, timeout=60.0, headers={"X-API-KEY": key}))
        ids.append(project.pk)
    with connection.cursor() as cursor:
        cursor.execute(ANSWERS, {"project": ids[0]})
        cursor.execute(LABELS, {"project": ids[0]})
        newest = "SELECT id FROM query_thread WHERE project_id = %s ORDER BY created_at DESC LIMIT %s"
        cursor.execute(f"UPDATE query_thread SET last_activity_at = now() WHERE id IN ({newest})", [ids[0], YOUNG])
        cursor.execute(
            f"UPDATE query_thread SET user_email = %s WHERE id IN ({newest} OFFSET %s)",
            [EMAIL, ids[1], YOUNG, count // 2],
        )
        cursor.execute("VACUUM ANALYZE query_thread, query_questionanswer, categorisation_labelchange")
    return Scene(clients[0], clients[1], ids[0], ids[1])


def measure(scene: Scene, count: int) -> list[str]:
    from teams.models import Project

    taken, labelled = new_latencies(scene), list[float]()
    for _ in range(WARM_UPS):
        ask_round(scene, new_latencies(scene), labelled)
    for _ in range(ROUNDS_BEFORE):
        ask_round(scene, taken, labelled)
    report("before", taken)
    p95_before = {name: np.percentile(row, 95) for name, row in taken.items()}
    Project.objects.filter(pk=scene.erased_id).update(retention_days=365)
    begun, erased = time.monotonic(), 0
    taken, labelled = new_latencies(scene), []
    told_at = begun
    while (erased := count_erased(scene.erased_id)) < count - YOUNG:
        ask_round(scene, taken, labelled)
        if time.monotonic() > told_at + PROGRESS_EVERY_S:
            told_at = time.monotonic()
            print(f"   {told_at - begun:4.0f} s: {erased:,} erased", flush=True)
        if told_at > begun + TIMEOUT_S:
            raise SystemExit("They were not erased in time.")
    took_s = time.monotonic() - begun
    print(f"{erased:,} conversations are erased after {took_s:.0f} s: {erased / took_s:,.0f} a second")
    report("meanwhile", taken)
    print(f"labels of new conversations after {np.median(labelled):.2f} s by the median, {max(labelled):.2f} s at most")
    return judge(taken, p95_before, labelled)


def judge(taken: Latencies, p95_before: Mapping[str, float], labelled: list[float]) -> list[str]:
    misses = []
    for name, row in taken.items():
        p95, gate = np.percentile(row, 95), max(PAGE_P95_GATE_MS, PAGE_RATIO_GATE * p95_before[name])
        if name != "chat" and p95 >= gate:
            misses.append(f"{name}: p95 {p95:.0f} ms, {p95_before[name]:.0f} before")
    if max(taken["chat"]) >= CHAT_GATE_MS:
        misses.append(f"a chat took {max(taken['chat']):.0f} ms")
    if np.percentile(labelled, 95) >= LABEL_GATE_S:
        misses.append(f"labels took {np.percentile(labelled, 95):.1f} s (p95)")
    return misses


def new_latencies(scene: Scene) -> Latencies:
    return {name: [] for name in (*scene.pages, "chat")}


def ask_round(scene: Scene, taken: Latencies, labelled: list[float]) -> None:
    for name, (client, project_id) in scene.pages.items():
        path = f"/query/v1/projects/{project_id}/threads/"
        taken[name].append(timed(lambda client=client, path=path: client.get(path).raise_for_status()))
    answers: list[Any] = []
    taken["chat"].append(timed(lambda: answers.append(ask(scene))))
    labelled.append(wait_for_label(answers[0]["thread_id"]))


def ask(scene: Scene) -> Any:
    path = f"/query/v1/projects/{scene.other_id}/chat"
    return scene.other.post(path, json={"question": QUESTION}).raise_for_status().json()


def wait_for_label(thread_id: str) -> float:
    from query.models import Thread

    begun = time.monotonic()
    while not Thread.objects.filter(pk=thread_id, category_source="classifier").exists():
        time.sleep(0.02)
        if time.monotonic() > begun + 60:
            raise SystemExit("A new conversation has no label after a minute.")
    return time.monotonic() - begun


def count_erased(project_id: UUID) -> int:
    from query.models import Erasure

    return sum(Erasure.objects.filter(project=project_id).values_list("erased", flat=True))


def erase_person(scene: Scene) -> list[str]:
    """Find and erase a person's conversations among all."""
    command = [sys.executable, "manage.py", "erase", "--email", EMAIL.upper()]
    for more in (["--dry-run"], ["--yes"]):
        begun = time.monotonic()
        done = subprocess.run([*command, *more], cwd=REPOSITORY, check=True, capture_output=True, text=True)
        print(f"manage.py erase --email {more[0]}: {time.monotonic() - begun:.1f} s, process and all")
    return [] if f"{YOUNG} conversations are erased" in done.stdout else [f"not {YOUNG}: {done.stdout}"]


if __name__ == "__main__":
    sys.exit(main())
