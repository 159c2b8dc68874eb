"""Parts that are made in a lane of their own, so that whoever takes them can look after something else meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from knowledge.cancellation import Cancellation, Cancelled, cancellable_by

Part = TypeVar("Part")
Parts = Generator[Part, None, None]
TICK_S = 0.5


def make_aside(
    make: Callable[[], Parts[Part]], *, context: Context | None = None, tick_s: float = TICK_S
) -> Parts[Part | None]:
    """Yield what `make()` yields, and None whenever nothing came for `tick_s`. Raises what it raises.

    It is made in a copy of `context`, by default of the one in which the first part is asked for.

    As with any generator, what comes after a part is begun when it is asked for. Closing this before the end cancels
    what the lane waits for.
    """
    lane = _Lane(make, context or copy_context())
    lane.start()
    try:
        while True:
            try:
                outcome = lane.outcomes.get(timeout=tick_s)
            except Empty:
                yield None
                continue
            if outcome is None:
                return
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome[0]
            lane.go_on.release()
    finally:
        lane.cancellation.request()
        lane.go_on.release()


class _Lane(threading.Thread, Generic[Part]):
    """Makes the parts, and waits after each until it may `go_on`, or need not. Its end is told by None, or by the
    exception that ended it.
    """

    def __init__(self, make: Callable[[], Parts[Part]], context: Context) -> None:
        super().__init__(name="answer", daemon=True)
        self._make = make
        self._context = context.copy()
        self.cancellation = Cancellation()
        self.outcomes: SimpleQueue[tuple[Part] | BaseException | None] = SimpleQueue()
        self.go_on = threading.Semaphore(0)

    def run(self) -> None:
        self._context.run(self._run)

    def _run(self) -> None:
        try:
            with cancellable_by(self.cancellation), closing(self._make()) as parts:
                for part in parts:
                    self.outcomes.put((part,))
                    self.go_on.acquire()
                    if self.cancellation.is_requested:
                        return
            self.outcomes.put(None)
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever takes the parts
            self.outcomes.put(error)
