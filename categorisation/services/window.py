"""The window: many classifications at once, each lane getting its next call the moment it has ended one.

One main thread claims, hands out and writes, and alone uses the database; classifiers compute in lanes. No transaction
is open while anything computes. In hand are at most the calls under way, as many threads again as fill the lanes once
more, or about a second's consumption where that is more (2,000 at most). What has ended is written together, twice a
second. Nothing waits for a barrier: a slow call delays no other.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol
from uuid import UUID

from categorisation.classifiers import Classifier
from categorisation.errors import ClassifierError
from categorisation.lanes import Lanes
from categorisation.services import claims as claiming
from categorisation.services import health, results
from categorisation.services.breaker import PROBES
from categorisation.services.calls import Result, classify_in_parts
from categorisation.services.repeats import Repeats
from categorisation.services.results import Outcome
from categorisation.services.streams import Done, Stream, Work
from categorisation.services.waiting import WaitingRoom, questions_of
from observability import metrics

logger = logging.getLogger(__name__)

MOST_WAITING = 2_000
MOST_UNWRITTEN = 4_000
# Shorter calls are handed to a lane several at a time: changing threads costs more than they do.
SHORT_CALL_S = 0.001
MOST_CALLS_TOGETHER = 64
DRAIN_BEAT_S = 0.1  # a successor waits for the lanes that a draining window frees
SHUTDOWN_GRACE_S = 20.0  # the worker's own is 30 s


class Source(Protocol):
    """Where a window's threads come from."""

    def refresh(self) -> None:
        """Look anew at what there is to do. Called at every beat."""

    def claim(self, room: int, in_hand: Mapping[UUID, int]) -> list[Work]:
        """Claim at most `room` threads; `in_hand` says how many of each project the window has."""


class Allowance(NamedTuple):
    """How many calls may be under way, and when to ask again."""

    lanes: int
    beat_s: float


class Keeper(Protocol):
    """Who decides how many lanes a window may use."""

    def beat(self, calls: int) -> Allowance:
        """Told at every beat how many calls are under way."""

    def begin_draining(self, calls: int) -> None:
        """Told once when the window claims nothing more, though there may be more to do."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a window works. It claims for `claims_s`, then waits `drains_s` at most for what is under way; less when the
    worker is being shut down."""

    claims_s: float
    drains_s: float
    questions_per_call: int = 1
    calls_at_once: int | None = None


class Ended(NamedTuple):
    """A call that has ended: what was asked, what came out for each, and how long the classifier took for a call."""

    works: list[Work]
    results: list[Result]
    call_s: float


class Window:
    """One run through what a source has to give."""

    def __init__(
        self,
        source: Source,
        classifier: Classifier,
        lanes: Lanes,
        keeper: Keeper,
        manner: Manner,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._source = source
        self._classifier = classifier
        self._version = classifier.version
        self._lanes = lanes
        self._keeper = keeper
        self._manner = manner
        self._should_stop = should_stop
        self._waiting = WaitingRoom()
        self._repeats = Repeats()
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._under_way: dict[int, list[Work]] = {}
        self._unwritten: list[Done] = []
        self._outcomes: Counter[Outcome] = Counter()
        self._allowance = Allowance(0, 0.0)
        self._is_probing = False
        self._is_paused = False
        self._is_dry = False
        self._is_alarmed = False
        self._consumed = 0
        self._consumed_per_s = 0.0
        self._call_s = SHORT_CALL_S

    def run(self) -> Counter[Outcome]:
        """Classify until nothing is left, or time is up; how many claims came to what."""
        self._begun = self._beaten = time.monotonic()
        self._beat()
        while self._may_claim():
            self._top_up()
            self._hand_out()
            if self._is_empty() and not self._unwritten and (self._is_dry or self._is_paused):
                break
            self._turn()
        self._drain()
        return self._outcomes

    # -- turns --------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait for a call to end, hand out the next, and at times beat."""
        self._take_ended(self._seconds_to_beat())
        if self._is_alarmed:
            self._beat()  # before more calls fail, or when a probe has come back
        self._hand_out()
        if self._seconds_to_beat() == 0 or len(self._unwritten) >= MOST_UNWRITTEN or self._is_empty():
            self._beat()

    def _seconds_to_beat(self) -> float:
        return max(0.0, self._beaten + self._allowance.beat_s - time.monotonic())

    def _take_ended(self, timeout_s: float) -> None:
        if not self._under_way:
            if self._free_calls() == 0:  # other windows have all lanes
                time.sleep(timeout_s)
            return
        try:
            ended = self._ended.get(timeout=timeout_s) if timeout_s > 0 else self._ended.get_nowait()
            while True:
                self._settle(ended)
                ended = self._ended.get_nowait()
        except Empty:
            return

    def _settle(self, ended: Ended) -> None:
        if self._under_way.pop(id(ended.works), None) is None:
            return  # it was given up before
        stream = ended.works[0].stream
        self._waiting.end_call(stream.project_id)
        if stream.max_lanes is not None:
            self._is_dry = False  # its bound may have been all that kept the source from giving more
        metrics.CLASSIFIER_CALL_SECONDS.observe(ended.call_s)
        self._call_s += (ended.call_s - self._call_s) / 8
        self._consumed += len(ended.works)
        self._is_alarmed |= self._is_probing or any(isinstance(result, ClassifierError) for result in ended.results)
        lane_s = ended.call_s * math.ceil(len(ended.works) / self._manner.questions_per_call) / len(ended.works)
        for work, result in zip(ended.works, ended.results, strict=True):
            self._unwritten.append(Done(work, result, lane_s=lane_s))
            self._unwritten += self._repeats.learn(work, result)

    def _beat(self) -> None:
        """Write what has ended, and look at everything that may have changed."""
        now = time.monotonic()
        elapsed_s, self._beaten = now - self._beaten, now
        if elapsed_s > 0:
            self._consumed_per_s, self._consumed = self._consumed / elapsed_s, 0
        self._flush()
        self._allowance = self._keeper.beat(len(self._under_way))
        state, now_there = health.read_state(self._version)
        self._is_probing, self._is_paused = not state.is_closed, state.is_open(now_there)
        if self._is_paused:
            self._release(self._waiting.clear())
        self._source.refresh()
        self._is_dry = self._is_alarmed = False

    def _flush(self) -> None:
        if not self._unwritten:
            return
        unwritten, self._unwritten = self._unwritten, []
        outcomes, _ = results.record(unwritten, self._version)
        self._outcomes.update(outcomes)

    # -- claiming and handing out -------------------------------------------------------------------------------------

    def _may_claim(self) -> bool:
        return not self._should_stop() and time.monotonic() < self._begun + self._manner.claims_s

    def _is_empty(self) -> bool:
        return not self._under_way and not self._waiting

    def _free_calls(self) -> int:
        bounds = [self._allowance.lanes, self._manner.calls_at_once or self._allowance.lanes]
        if self._is_probing:
            bounds.append(PROBES)
        return min(min(bounds) - len(self._under_way), self._lanes.idle)

    def _top_up(self) -> None:
        if self._is_dry or self._is_paused:
            return
        most = self._count_wanted()
        room = most - len(self._waiting) - self._repeats.count_followers()
        if room < max(1, most // 4):
            return
        works = self._source.claim(room, self._count_in_hand())
        self._is_dry = len(works) == 0
        by_stream: dict[Stream, list[Work]] = {}
        for work in works:
            by_stream.setdefault(work.stream, []).append(work)
        for stream, alike in by_stream.items():
            leaders, known = self._repeats.admit(stream, alike)
            self._waiting.add(leaders)
            self._unwritten += known

    def _count_wanted(self) -> int:
        """How many threads should wait: those that free lanes take at once, and as many as will be consumed soon."""
        if self._is_probing:
            return max(0, self._free_calls())
        calls = min(self._allowance.lanes, self._manner.calls_at_once or self._allowance.lanes)
        soon = max(self._consumed_per_s, calls * self._manner.questions_per_call)
        at_once = max(0, self._free_calls()) * self._manner.questions_per_call
        return min(MOST_WAITING, int(at_once + soon))

    def _count_in_hand(self) -> Counter[UUID]:
        in_hand = self._waiting.count_by_project()
        for works in self._under_way.values():
            in_hand[works[0].stream.project_id] += len(works)
        return in_hand

    def _hand_out(self) -> None:
        together = self._count_questions_together()
        while self._waiting and self._free_calls() > 0 and self._may_claim():
            works = self._waiting.take_call(together)
            if not works:
                return
            self._under_way[id(works)] = works
            self._lanes.submit(partial(self._compute, works), self._ended.put)

    def _count_questions_together(self) -> int:
        if self._is_probing:
            return 1
        calls = min(MOST_CALLS_TOGETHER, max(1, int(SHORT_CALL_S / max(self._call_s, 1e-6))))
        return calls * self._manner.questions_per_call

    def _compute(self, works: list[Work]) -> Ended:
        """In a lane."""
        begun = time.monotonic()
        found = classify_in_parts(
            self._classifier, questions_of(works), works[0].stream.taxonomy.categories, self._manner.questions_per_call
        )
        calls = math.ceil(len(works) / self._manner.questions_per_call)
        return Ended(works, found, (time.monotonic() - begun) / calls)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Give back what has not begun, and wait for what has. What does not end in time counts as failed, unless it is
        the worker that has no more time."""
        if not self._is_empty():
            self._keeper.begin_draining(len(self._under_way))
        self._release(self._waiting.clear())
        begun = time.monotonic()
        while self._under_way and time.monotonic() < begun + self._drain_s():
            self._take_ended(self._seconds_to_beat())
            if self._seconds_to_beat() == 0 or not self._under_way:
                self._flush()
                self._allowance = self._keeper.beat(len(self._under_way))._replace(beat_s=DRAIN_BEAT_S)
                self._beaten = time.monotonic()
        self._give_up_calls()
        self._flush()

    def _drain_s(self) -> float:
        return min(self._manner.drains_s, SHUTDOWN_GRACE_S) if self._should_stop() else self._manner.drains_s

    def _give_up_calls(self) -> None:
        if not self._under_way:
            return
        logger.warning("%d calls of the classifier did not end in time, and were given up", len(self._under_way))
        works = [work for call in self._under_way.values() for work in call]
        self._under_way.clear()
        if self._should_stop():
            self._release(works)
            return
        for work in works:
            late = ClassifierError("The classifier did not answer in time.")
            self._unwritten += [Done(work, late), *self._repeats.learn(work, late)]

    def _release(self, works: list[Work]) -> None:
        followers = self._repeats.give_up_waiting(works)
        claiming.release([work.claim for work in (*works, *followers)])
