"""Telling a worker that there is work, without ever making a request wait for the broker.

Every task has a `nudge(*args)` beside Celery's own `delay`. A nudge is only a shortcut: the row in PostgreSQL is the
record of the work, and a sweeper on beat finds whatever a nudge failed to announce. So a nudge may be dropped, and
must not block: it is put on a bounded queue that a daemon thread empties. The thread starts with the first nudge,
because a thread started before a fork does not exist in the child. When publishing fails, a breaker drops nudges for
a while instead of trying a dead broker once for each.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable

from celery import Task

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 1_000
BREAKER_S = 5.0
PUBLISH_TIMEOUT_S = 0.25
NUDGE_EXPIRES_S = 300

PUBLISH_OPTIONS = {
    "retry": False,
    "timeout": PUBLISH_TIMEOUT_S,
    "confirm_timeout": PUBLISH_TIMEOUT_S,
    "expires": NUDGE_EXPIRES_S,
}


class Nudger:
    """A bounded queue of calls, emptied by one daemon thread of this process."""

    def __init__(self, *, queue_length: int = QUEUE_LENGTH, breaker_s: float = BREAKER_S) -> None:
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue(maxsize=queue_length)
        self._breaker_s = breaker_s
        self._broken_until = 0.0
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def submit(self, publish: Callable[[], object]) -> bool:
        """Hand over one call; False when it was dropped (breaker open or queue full). Never blocks."""
        if time.monotonic() < self._broken_until:
            return False
        self._ensure_thread()
        try:
            self._calls.put_nowait(publish)
        except queue.Full:
            return False
        return True

    def _ensure_thread(self) -> None:
        if self._pid == os.getpid() and self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._pid == os.getpid() and self._thread is not None and self._thread.is_alive():
                return
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="nudger", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            publish = self._calls.get()
            if time.monotonic() < self._broken_until:
                continue
            try:
                publish()
            except Exception as error:  # noqa: BLE001 - transports raise kinds of their own, and this thread must go on
                self._broken_until = time.monotonic() + self._breaker_s
                kind = type(error).__name__
                logger.warning("the broker did not take a nudge (%s); the sweeper will find the work", kind)


nudger = Nudger()


class NudgingTask(Task):  # type: ignore[misc]  # celery has no types
    """Celery's task with `nudge`: at most once, never blocking, for callers whose row is already safe."""

    abstract = True

    def nudge(self, *args: object) -> None:
        """Announce work that is already recorded. `args` must be JSON values."""
        if self.app.conf.task_always_eager:
            self.apply(args=args)
            return
        nudger.submit(lambda: self.apply_async(args=args, **PUBLISH_OPTIONS))
