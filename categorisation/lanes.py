"""Lanes: Python threads that classifiers compute in, while one main thread has the database to itself.

A call that never ends holds its lane and nothing else: lanes are daemon threads, which no process waits for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from observability import metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")


class NoLaneIsIdle(Exception):
    """More was handed out than there are idle lanes."""


class Lanes:
    """At most `size` Python threads, each started when it is first needed, and kept."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        self._size = size
        self._waiting: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = 0
        self._busy = 0

    @property
    def size(self) -> int:
        return self._size

    @property
    def idle(self) -> int:
        """How many computations may be submitted now."""
        return self._size - self._busy

    def submit(self, compute: Callable[[], T], deliver: Callable[[T], None]) -> None:
        """Compute in a lane, and hand over what came out, there: nothing when it raises. Raises NoLaneIsIdle."""
        with self._lock:
            if self._busy >= self._size:
                raise NoLaneIsIdle(f"All {self._size} lanes are busy.")
            self._busy += 1
            must_start = self._busy > self._started
            self._started += must_start
        metrics.LANES_BUSY.inc()
        self._waiting.put((compute, deliver))
        if must_start:
            threading.Thread(target=self._run, name=f"lane-{self._started}", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._work(*self._waiting.get())
            except BaseException:  # sys.exit in somebody else's code, say: the lane must not end with it
                logger.exception("a computation raised; what waits for it will wait in vain")

    def _work(self, compute: Callable[[], T], deliver: Callable[[T], None]) -> None:
        try:
            computed = compute()
        finally:
            with self._lock:  # before the delivery: who has got the result may hand out again
                self._busy -= 1
            metrics.LANES_BUSY.dec()
        deliver(computed)
