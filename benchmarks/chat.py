"""What a chat, a page of threads and a search cost, and where their time goes: `python -m benchmarks.chat [--quick]`.

The service as it is deployed, over HTTP: web server, worker, vectordb, PostgreSQL, a bot that has read docs/, the local
embedder, answers by quotation. Asked are chats, pages of threads and searches in turn, by 1, 8 and 32 clients at once.
Then a web server that tells in `Server-Timing` where a request's time went is asked by one client. Last, chats wait for
a model that takes its time, half of them streamed, while one client asks for pages and for /healthz.

Gates: of a chat with one client, the time outside embedding, search and model at most 15 ms by the median; while chats
wait, the 95th percentile of pages and /healthz below 100 ms. Each process of the web server has one connection to the
database then: a single chat that kept it while it waits would leave the others of its process without an answer. What
misses is measured up to three times. `--quick` asks less. Ends non-zero when a gate is missed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from benchmarks.surroundings import REPOSITORY, Surroundings
from benchmarks.whole_service import WholeService
from tests.openai_server import RunningServer, running_openai_server

if TYPE_CHECKING:
    from teams.models import Project

OUTSIDE_GATE_MS = 15.0
WAITING_GATE_MS = 100.0
TRIES = 3
CLIENTS = (1, 8, 32)
THREADS = 2_000  # that the list begins with
WARM_UPS = 20
QUESTIONS = Path(__file__).parent / "data" / "docs_questions.jsonl"
SPAN = re.compile(r"(\w+);dur=([\d.]+)")


@dataclass(frozen=True, slots=True)
class Extent:
    """How long each kind is asked by so many clients, how often for its spans, and what waits for the model."""

    seconds: float
    rounds: int
    spans: int
    waiting: int
    delay_s: float


QUICK = Extent(seconds=2.0, rounds=1, spans=60, waiting=16, delay_s=8.0)
FULL = Extent(seconds=10.0, rounds=3, spans=400, waiting=64, delay_s=20.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, how long it took, and what the server told of its time."""

    body: bytes
    took_ms: float
    server_timing: str

    def read_timings(self) -> dict[str, float]:
        timings: dict[str, float] = json.loads(self.body)["timings"]
        return timings


class Client:
    """One that asks again and again by the same connection."""

    def __init__(self, base_url: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=120)
        self._headers = {"X-API-KEY": key, "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        content = None if body is None else json.dumps(body).encode()
        started = time.perf_counter()
        self._connection.request(method, path, content, self._headers)
        response = self._connection.getresponse()
        read = response.read()
        took_ms = (time.perf_counter() - started) * 1e3
        if response.status != 200:
            raise SystemExit(f"{method} {path} was answered {response.status}: {read[:500]!r}")
        return Answer(read, took_ms, response.headers.get("Server-Timing", ""))

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Bot:
    """A project that has read docs/, and what to ask it."""

    project_id: str
    key: str
    questions: Sequence[str]
    _numbers: count[int] = field(default_factory=count)

    @property
    def path(self) -> str:
        return f"/query/v1/projects/{self.project_id}"

    def chat(self, client: Client) -> Answer:
        return client.ask("POST", f"{self.path}/chat", {"question": self.next_question()})

    def list(self, client: Client) -> Answer:
        return client.ask("GET", f"{self.path}/threads/")

    def retrieval(self, client: Client) -> Answer:
        return client.ask("POST", f"{self.path}/retrieval", {"query": self.next_question()})

    def next_question(self) -> str:
        return self.questions[next(self._numbers) % len(self.questions)]

    @property
    def kinds(self) -> dict[str, Callable[[Client], Answer]]:
        return {"chat": self.chat, "list": self.list, "retrieval": self.retrieval}


def make_bot(threads: int) -> Bot:
    """A project with these documents and so many threads."""
    from benchmarks.seeding import seed_threads
    from teams.services import create_api_key, create_project

    project = create_project(team_name="benchmark", name="Docs")
    teach(project, REPOSITORY / "docs")
    seed_threads(project.pk, threads, newest=datetime.now(UTC) - timedelta(days=2))
    _, key = create_api_key(project=project, name="benchmark", scopes=["chat", "read"])
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    return Bot(str(project.pk), key, [row["question"] for row in rows if row["kind"] == "covered"])


def teach(project: Project, folder: Path) -> None:
    import knowledge.composition
    from knowledge.services import Draft, put_document

    for path in sorted(folder.rglob("*.md")):
        content = path.read_text(encoding="utf-8")
        title = content.partition("\n")[0].lstrip("# ") or path.stem
        draft = Draft(title=title, content=content, content_type="text/markdown", external_id=str(path))
        document, _ = put_document(project=project, draft=draft, announce=False)
        knowledge.composition.indexer().index(document.pk)


def measure_rates(base_url: str, bot: Bot, extent: Extent) -> bool:
    """Print the table of rates; whether a chat's own part is as small as it must be."""
    print("by clients at once: requests a second, and milliseconds of a request")
    print(f"{'':11}{'clients':>8}{'a second':>10}{'p50':>9}{'p95':>9}{'p99':>9}")
    taken: dict[tuple[int, str], list[NDArray[np.float64]]] = {}
    for _ in range(extent.rounds):
        for clients in CLIENTS:
            for kind, ask in bot.kinds.items():
                taken.setdefault((clients, kind), []).append(ask_at_once(base_url, bot, ask, clients, extent.seconds))
    for (clients, kind), rounds in sorted(taken.items(), key=lambda item: (item[0][1], item[0][0])):
        row = np.concatenate(rounds)
        p50, p95, p99 = np.percentile(row, [50, 95, 99])
        rate = len(row) / (extent.seconds * extent.rounds)
        print(f"{kind:11}{clients:8}{rate:10.1f}{p50:9.1f}{p95:9.1f}{p99:9.1f}", flush=True)
    return any(measure_outside(base_url, bot, extent) <= OUTSIDE_GATE_MS for _ in range(TRIES))


def ask_at_once(
    base_url: str, bot: Bot, ask: Callable[[Client], Answer], clients: int, seconds: float
) -> NDArray[np.float64]:
    """How many milliseconds each request took that so many clients made within this time."""

    def ask_on(_: int) -> list[float]:
        with closing(Client(base_url, bot.key)) as client:
            ask(client)
            end = time.monotonic() + seconds
            return [ask(client).took_ms for _ in iter(lambda: time.monotonic() < end, False)]

    with ThreadPoolExecutor(clients) as threads:
        return np.array([took_ms for row in threads.map(ask_on, range(clients)) for took_ms in row])


def measure_outside(base_url: str, bot: Bot, extent: Extent) -> float:
    """The median of a chat's milliseconds outside of embedding, search and model."""
    outside = []
    with closing(Client(base_url, bot.key)) as client:
        for _ in range(WARM_UPS + extent.spans):
            answer = bot.chat(client)
            timings = answer.read_timings()
            outside.append(answer.took_ms - timings["embed_ms"] - timings["retrieve_ms"] - timings["generate_ms"])
    p50, p95 = np.percentile(outside[WARM_UPS:], [50, 95])
    print(f"outside embedding, search and model: p50 {p50:.1f} ms, p95 {p95:.1f}   gate {OUTSIDE_GATE_MS:.0f} for p50")
    return float(p50)


def show_spans(base_url: str, bot: Bot, extent: Extent) -> None:
    """Print where the time of each kind goes, with one client."""
    print("where the time goes with one client: the mean of the middle half, in milliseconds")
    for kind, ask in bot.kinds.items():
        spans: dict[str, list[float]] = {}
        with closing(Client(base_url, bot.key)) as client:
            for answer in [ask(client) for _ in range(WARM_UPS + extent.spans)][WARM_UPS:]:
                told = {name: float(dur) for name, dur in SPAN.findall(answer.server_timing)}
                told["network"] = answer.took_ms - sum(told.values())
                for name, took_ms in told.items():
                    spans.setdefault(name, []).append(took_ms)
        shares = sorted(((mean_of_the_middle(row), name) for name, row in spans.items()), reverse=True)
        told_shares = "   ".join(f"{name} {share:.2f}" for share, name in shares)
        print(f"  {kind:10} {sum(share for share, _ in shares):6.2f} = {told_shares}", flush=True)


def mean_of_the_middle(row: Sequence[float]) -> float:
    low, high = np.percentile(row, [25, 75])
    return float(np.mean([value for value in row if low <= value <= high]))


def measure_waiting(service: WholeService, bot: Bot, extent: Extent) -> bool:
    """Whether pages and /healthz are answered at once while chats wait for a model."""
    with running_openai_server("slow", delay_s=extent.delay_s) as model:
        settings = {"LLM": "openai", "LLM_BASE_URL": model.base_url, "LLM_MODEL": "slow", "LLM_TIMEOUT_S": "90"}
        base_url = service.start_web(environment={**settings, "DATABASE_POOL_SIZE": "1"})
        ask_at_once(base_url, bot, bot.retrieval, 8, seconds=3.0)  # every process has loaded its embedder then
        return any(wait_and_look(base_url, model, bot, extent) for _ in range(TRIES))


def wait_and_look(base_url: str, model: RunningServer, bot: Bot, extent: Extent) -> bool:
    asked_before = model.read_requests()["count"]
    with ThreadPoolExecutor(extent.waiting) as threads:
        started = time.monotonic()
        waiting = [threads.submit(chat_slowly, base_url, bot, bool(number % 2)) for number in range(extent.waiting)]
        while model.read_requests()["count"] < asked_before + extent.waiting:
            for chat in waiting:
                if chat.done():
                    chat.result()  # says why it did not wait
            if time.monotonic() - started > extent.delay_s:
                raise SystemExit("The chats did not reach the model before it had answered the first.")
            time.sleep(0.05)
        took_ms = look_around(base_url, bot, until=started + extent.delay_s - 0.5)
        for chat in waiting:
            chat.result()
    print(f"while {extent.waiting} chats wait {extent.delay_s:.0f} s for the model, with one connection a process")
    p95s = []
    for kind, row in took_ms.items():
        p50, p95 = np.percentile(row, [50, 95])
        p95s.append(p95)
        print(
            f"  {kind:8} {len(row):5} times   p50 {p50:6.1f}   p95 {p95:6.1f} ms   gate {WAITING_GATE_MS:.0f}",
            flush=True,
        )
    return max(p95s) < WAITING_GATE_MS


def chat_slowly(base_url: str, bot: Bot, is_streamed: bool) -> None:
    with closing(Client(base_url, bot.key)) as client:
        path = f"{bot.path}/chat/stream" if is_streamed else f"{bot.path}/chat"
        body = client.ask("POST", path, {"question": bot.next_question()}).body
        if is_streamed and b"event: done\n" not in body:
            raise SystemExit(f"A stream did not end well: {body[-500:]!r}")


def look_around(base_url: str, bot: Bot, until: float) -> Mapping[str, list[float]]:
    """How many milliseconds pages and /healthz take, of a client that comes anew for each."""
    took_ms: dict[str, list[float]] = {"list": [], "healthz": []}
    while time.monotonic() < until:
        with closing(Client(base_url, bot.key)) as client:
            took_ms["list"].append(bot.list(client).took_ms)
            took_ms["healthz"].append(client.ask("GET", "/healthz").took_ms)
        time.sleep(0.05)
    return took_ms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, two minutes")
    arguments = parser.parse_args()
    extent = QUICK if arguments.quick else FULL
    with Surroundings() as surroundings:
        # a limit that nobody reaches, so that calls are counted as they are in earnest
        service = WholeService(surroundings, {"CLASSIFIER": "embedding", "CALLS_PER_MINUTE": "1000000"})
        bot = make_bot(THREADS)
        base_url = service.start_web()
        service.start_worker("live,mail", processes=1, is_nice=True)
        is_light = measure_rates(base_url, bot, extent)
        show_spans(service.start_web("benchmarks.spans_wsgi:application"), bot, extent)
        is_patient = measure_waiting(service, bot, extent)
    print("gates: " + ("held" if is_light and is_patient else "MISSED"))
    return 0 if is_light and is_patient else 1


if __name__ == "__main__":
    sys.exit(main())
