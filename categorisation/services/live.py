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
from uuid import UUID

from django.db.models.functions import Now

from categorisation import selectors
from categorisation.classifiers import Classifier
from categorisation.errors import RunIsOpen
from categorisation.lanes import Lanes
from categorisation.models import Run, RunKind, RunState
from categorisation.services import claims as claiming
from categorisation.services import runs
from categorisation.services.classification import label_thread
from categorisation.services.history import BEAT
from categorisation.services.locks import session_lock
from categorisation.services.results import Outcome
from categorisation.services.scopes import YOUNG_AGE
from categorisation.services.sources import YoungThreads
from categorisation.services.window import Allowance, Manner, Window
from query.models import Thread

POLL_S = 0.2
CLAIMS_S = 20.0
DRAINS_S = 80.0
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


def label_new_thread(thread_id: UUID, parts: LiveParts) -> Counter[Outcome]:
    """Classify a thread that is announced, and whatever else is young and due.

    An older thread, which the live window does not look for (a person's decision on it was forgotten, say), is
    classified by itself, one at a time: when many are announced together, a backfill sees to them, so that new
    conversations and the planner do not wait behind them.
    """
    old = Thread.objects.filter(pk=thread_id, created_at__lte=Now() - YOUNG_AGE)
    project_id = old.values_list("project_id", flat=True).first()
    if project_id is None:
        return label_young_threads(parts)
    with session_lock(f"old thread of {parts.worker}") as is_alone:
        if _is_left_to_a_backfill(thread_id, project_id, may_begin=not is_alone):
            return Counter()
        return Counter([label_thread(thread_id, parts.classifier)])


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


def _is_left_to_a_backfill(thread_id: UUID, project_id: UUID, *, may_begin: bool) -> bool:
    """Whether a backfill of the project runs, which is begun now if it may be; not one that somebody paused, suspended
    or limited."""
    running = Run.objects.filter(kind=RunKind.BACKFILL, state=RunState.RUNNING, limit=None)
    if running.filter(project_id=project_id).exists():
        return True
    if not may_begin or not selectors.due_threads().filter(pk=thread_id).exists():
        return False
    try:
        return runs.start_backfill_if_wanted(project_id, BEAT)
    except RunIsOpen:  # somebody else has begun one, or it is paused
        return running.filter(project_id=project_id).exists()


def _make_window(parts: LiveParts, keeper: SlotKeeper) -> Window:
    manner = Manner(
        claims_s=parts.claims_s,
        drains_s=DRAINS_S,
        questions_per_call=parts.questions_per_call,
        calls_at_once=parts.calls_at_once,
    )
    return Window(YoungThreads(), parts.classifier, parts.lanes, keeper, manner, parts.should_stop)
