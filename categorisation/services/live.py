"""The live window: new conversations, labelled within seconds.

Each worker has one slot for it, a lock of the database's session. Whoever is told of a new thread, or sweeps, tries the
slot. When it is held, whoever holds it looks for due threads five times a second, so there is nothing left to do; and
when it has given the slot up it looks once more, so that no thread announced in between is left behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from categorisation.classifiers import Classifier
from categorisation.lanes import Lanes
from categorisation.services import claims as claiming
from categorisation.services.results import Outcome
from categorisation.services.sources import YoungThreads
from categorisation.services.window import Allowance, Manner, Window
from schema.locks import session_lock

POLL_S = 0.2
# One window claims while another one drains: of a worker's three processes one is free for the planner, whatever hangs.
CLAIMS_S = 25.0
DRAINS_S = 25.0
EMPTY_LOOKS = 2


@dataclass(frozen=True, slots=True)
class LiveParts:
    """What a live window is made of. `send_successor` is called when it ends though there may be more to do."""

    classifier: Classifier
    lanes: Lanes
    max_calls: int
    worker: str
    send_successor: Callable[[], object]
    should_stop: Callable[[], bool] = lambda: False
    questions_per_call: int = 1
    calls_at_once: int | None = None
    claims_s: float = CLAIMS_S


class SlotKeeper:
    """Gives the slot up as soon as its window claims nothing more."""

    def __init__(self, parts: LiveParts, slot: ExitStack) -> None:
        self._parts = parts
        self._slot = slot
        self.is_handed_over = False

    def beat(self, calls: int) -> Allowance:
        return Allowance(self._parts.max_calls, POLL_S)

    def begin_draining(self, calls: int) -> None:
        self._slot.close()
        self.is_handed_over = True
        self._parts.send_successor()


def label_young_threads(parts: LiveParts) -> Counter[Outcome]:
    """Classify threads of the last day until none is due, unless this worker's slot is held; what became of them."""
    outcomes: Counter[Outcome] = Counter()
    empty_looks = 0
    while empty_looks < EMPTY_LOOKS and claiming.are_young_threads_due():
        with ExitStack() as slot:
            if not slot.enter_context(session_lock(f"live window of {parts.worker}")):
                break
            keeper = SlotKeeper(parts, slot)
            came_out = _make_window(parts, keeper).run()
        outcomes += came_out
        empty_looks += not came_out
        if keeper.is_handed_over:
            break
    return outcomes


def _make_window(parts: LiveParts, keeper: SlotKeeper) -> Window:
    manner = Manner(
        claims_s=parts.claims_s,
        drains_s=DRAINS_S,
        questions_per_call=parts.questions_per_call,
        calls_at_once=parts.calls_at_once,
    )
    return Window(YoungThreads(), parts.classifier, parts.lanes, keeper, manner, parts.should_stop)
