"""What categorisation, and a broker in a bad state, add to a chat: `python -m benchmarks.chat_overhead [--quick]`.

Web servers as they are deployed are asked in turn over HTTP, one after the other in random order, with the local
embedder and a real vectordb. First three: one where nothing is labelled, another like it (what those two differ by is
the machine's noise), and one with categorisation, whose threads a worker labels by the dummy classifier. Then, for each
bad state of a broker, the server that has it beside one whose broker is well. Intervals are bootstrapped over rounds.

Gates: the ratio of the medians with and without categorisation at most 1.02; a broker's state adds less than 50 ms to
the 99th percentile. A ratio whose interval reaches below its gate gets more rounds, up to a limit, before it is judged.
`--quick` has fewer rounds, and fails only where the whole interval is beyond. Ends non-zero when a gate is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.surroundings import Surroundings
from benchmarks.whole_service import QUESTION, WholeService, make_bot
from tests.faults.brokers import Broker, start_broker
from tests.faults.proxy import FaultyProxy

RATIO_GATE = 1.02
ADDED_P99_GATE_MS = 50.0
WARM_UPS = 30
RESAMPLES = 2_000
STATES = ("stopped", "mute", "dropping", "frozen", "in alarm")

Latencies = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Extent:
    """How many rounds: of a block, at most of the ratio, and for each state of the broker."""

    block: int
    most: int
    state: int
    is_quick: bool


QUICK = Extent(block=250, most=500, state=200, is_quick=True)
FULL = Extent(block=1_000, most=6_000, state=300, is_quick=False)


@dataclass(frozen=True, slots=True)
class Web:
    """A web server, and a project of its own to ask."""

    client: httpx.Client
    path: str

    def ask(self) -> float:
        """How many milliseconds an answer took."""
        started = time.perf_counter()
        response = self.client.post(self.path, json={"question": QUESTION})
        took_ms = (time.perf_counter() - started) * 1e3
        if response.status_code != 200 or response.json()["is_uncertain"]:
            raise SystemExit(f"A chat was not answered: {response.status_code} {response.text[:500]}")
        return took_ms


class Bench:
    """The service, a broker that may be made ill, and clients; gone when the stack is left."""

    def __init__(self, surroundings: Surroundings, stack: ExitStack) -> None:
        self._surroundings = surroundings
        self._stack = stack
        self.service = WholeService(surroundings, {"CLASSIFIER": "dummy", "WEB_CONCURRENCY": "1"})

    def start_web(self, *arguments: str, broker_url: str | None = None, is_labelled: bool = True) -> Web:
        environment = {"CELERY_BROKER_URL": broker_url} if broker_url else {}
        base_url = self.service.start_web(*arguments, environment=environment)
        project_id, key = _make_bot(is_labelled)
        client = httpx.Client(base_url=base_url, headers={"X-API-KEY": key}, timeout=60.0)
        web = Web(self._stack.enter_context(client), f"/query/v1/projects/{project_id}/chat")
        for _ in range(WARM_UPS):
            web.ask()
        return web

    def start_own_broker(self) -> tuple[Broker, FaultyProxy]:
        """One that may be made ill, and the way to it."""
        broker = start_broker(self._surroundings.supervisor, self._surroundings.folder, os.environ)
        self._stack.callback(broker.close)
        return broker, self._stack.enter_context(FaultyProxy(broker.address))


def _make_bot(is_labelled: bool) -> tuple[str, str]:
    """A project that knows a document; its id, and a key to it."""
    from categorisation.models import Taxonomy

    project, key = make_bot("Bot", ["chat"])
    Taxonomy.objects.filter(project=project).update(is_enabled=is_labelled)
    return str(project.pk), key


def ask_in_turn(webs: Mapping[str, Web], rounds: int, chance: np.random.Generator) -> Latencies:
    """In each round every server once, in random order; milliseconds, one row a round."""
    names = list(webs)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in chance.permutation(names):
            taken[name].append(webs[name].ask())
    return {name: np.array(row) for name, row in taken.items()}


def ratio_of_medians(
    above: NDArray[np.float64], below: NDArray[np.float64], chance: np.random.Generator
) -> tuple[float, float, float]:
    """The ratio, and the interval that 95 % of resampled rounds give it."""
    picked = chance.integers(0, len(above), (RESAMPLES, len(above)))
    ratios = np.median(above[picked], axis=1) / np.median(below[picked], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.median(above) / np.median(below)), float(low), float(high)


def measure_ratio(bench: Bench, extent: Extent, chance: np.random.Generator) -> bool:
    """Whether a chat costs no more than it may with categorisation."""
    bench.service.start_worker("live,mail", processes=3)
    bench.service.start_beat()
    without = ["benchmarks.unlabelled_wsgi:application"]
    webs = {
        "without": bench.start_web(*without, is_labelled=False),
        "without, again": bench.start_web(*without, is_labelled=False),
        "with": bench.start_web(),
    }
    taken = ask_in_turn(webs, extent.block, chance)
    while True:
        ratio, low, high = ratio_of_medians(taken["with"], taken["without"], chance)
        rounds = len(taken["with"])
        is_undecided = low <= RATIO_GATE < high or low <= RATIO_GATE < ratio
        if not is_undecided or rounds >= extent.most:
            break
        more = ask_in_turn(webs, extent.block, chance)
        taken = {name: np.concatenate([row, more[name]]) for name, row in taken.items()}
    print(f"{rounds} rounds, milliseconds a chat")
    for name, row in taken.items():
        quarter, median, three_quarters, p99 = np.percentile(row, [25, 50, 75, 99])
        print(f"  {name:15} median {median:6.2f}   half within {quarter:.2f}-{three_quarters:.2f}   p99 {p99:.2f}")
    noise = ratio_of_medians(taken["without, again"], taken["without"], chance)
    print(f"  noise           {noise[0]:.4f}   95 % within {noise[1]:.4f}-{noise[2]:.4f}")
    print(f"  with / without  {ratio:.4f}   95 % within {low:.4f}-{high:.4f}   gate {RATIO_GATE}")
    return low <= RATIO_GATE if extent.is_quick else ratio <= RATIO_GATE


def measure_states(bench: Bench, extent: Extent, chance: np.random.Generator) -> bool:
    """Whether a chat hardly notices any bad state of the broker."""
    broker, proxy = bench.start_own_broker()
    webs = {"well": bench.start_web(), "ill": bench.start_web(broker_url=broker.url_at(proxy.port))}
    are_good = True
    print(f"{extent.state} rounds for each state of the broker, milliseconds a chat")
    for state in STATES:
        make_ill(state, broker, proxy)
        taken = ask_in_turn(webs, extent.state, chance)
        make_well(state, broker, proxy)
        time.sleep(1.0)
        ask_in_turn(webs, WARM_UPS, chance)
        well, ill = (np.percentile(taken[name], [50, 99]) for name in ("well", "ill"))
        added_ms = float(ill[1] - well[1])
        are_good &= added_ms < ADDED_P99_GATE_MS
        print(
            f"  {state:9} medians {well[0]:6.2f} {ill[0]:6.2f}   p99 {well[1]:7.2f} {ill[1]:7.2f}"
            f"   added {added_ms:+7.2f}   gate {ADDED_P99_GATE_MS:.0f}"
        )
    return are_good


def make_ill(state: str, broker: Broker, proxy: FaultyProxy) -> None:
    match state:
        case "stopped":
            broker.stop()
            proxy.behave("refusing")
        case "mute":
            proxy.behave("mute")
        case "dropping":
            proxy.behave("dropping")
        case "frozen":
            broker.freeze()
        case "in alarm":
            broker.raise_alarm()


def make_well(state: str, broker: Broker, proxy: FaultyProxy) -> None:
    match state:
        case "stopped":
            broker.start()
        case "frozen":
            broker.thaw()
        case "in alarm":
            broker.clear_alarm()
    proxy.behave("passing")
    proxy.cut()  # what a bad network swallowed is missing in the middle of a stream


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, three minutes")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    extent = QUICK if arguments.quick else FULL
    chance = np.random.default_rng(arguments.seed)
    with Surroundings() as surroundings, ExitStack() as stack:
        bench = Bench(surroundings, stack)
        is_light = measure_ratio(bench, extent, chance)
        are_light = measure_states(bench, extent, chance)
    print("gates: " + ("held" if is_light and are_light else "MISSED"))
    return 0 if is_light and are_light else 1


if __name__ == "__main__":
    sys.exit(main())
