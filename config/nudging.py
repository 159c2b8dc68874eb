"""Telling a worker that there is work, without ever making a request wait for the broker.

Every task has a `nudge(*args)` beside Celery's own `delay`. A nudge is only a shortcut: the row in PostgreSQL is the
record of the work, and a sweeper on beat finds whatever a nudge failed to announce. So a nudge may be dropped, and
must not block: it is put on a bounded queue that a daemon thread empties. The thread starts with the first nudge,
because a thread started before a fork does not exist in the child. When publishing fails, a breaker drops nudges for
a while instead of trying a dead broker once for each. What is still queued when the process ends in good order is
published then, as far as a moment suffices.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable

from celery import Celery, Task
from kombu.messaging import Producer

from observability import metrics, request_id

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 1_000
BREAKER_S = 5.0
# Nobody waits for the nudger's thread, so a slow moment of the broker's need not open the breaker.
PUBLISH_TIMEOUT_S = 2.0
NUDGE_EXPIRES_S = 300
# Publishing takes about half a millisecond of the interpreter, which the request that nudged needs to end its answer.
PAUSE_S = 0.02
FLUSH_S = 1.0
FLUSH_POLL_S = 0.01

PUBLISH_OPTIONS = {
    "retry": False,
    "timeout": PUBLISH_TIMEOUT_S,
    "confirm_timeout": PUBLISH_TIMEOUT_S,
    "expires": NUDGE_EXPIRES_S,
}
_NO_RETRIES = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
_AMQP_OPTIONS = {
    # without confirmation a broker in alarm lets the message lie in its socket, and loses it when it dies
    "confirm_publish": True,
    "read_timeout": PUBLISH_TIMEOUT_S,
    "write_timeout": PUBLISH_TIMEOUT_S,
    **_NO_RETRIES,
}
_REDIS_OPTIONS = {
    "socket_connect_timeout": PUBLISH_TIMEOUT_S,
    "socket_timeout": PUBLISH_TIMEOUT_S,
    **_NO_RETRIES,
}


class Nudger:
    """A bounded queue of calls, emptied by one daemon thread of this process.

    After a fork the child has a queue of its own: what the parent had queued, the parent publishes.
    """

    def __init__(
        self, *, queue_length: int = QUEUE_LENGTH, breaker_s: float = BREAKER_S, pause_s: float = PAUSE_S
    ) -> None:
        self._queue_length = queue_length
        self._breaker_s = breaker_s
        self._pause_s = pause_s
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # made anew in a child: the parent's thread may have held a lock of theirs at the moment of the fork
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue(maxsize=self._queue_length)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._broken_until = 0.0

    def submit(self, publish: Callable[[], object]) -> bool:
        """Hand over one call; False when it was dropped (breaker open or queue full). Never blocks."""
        if time.monotonic() < self._broken_until:
            return _drop()
        self._ensure_thread()
        try:
            self._calls.put_nowait(publish)
        except queue.Full:
            return _drop()
        return True

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until everything submitted was published or dropped, at most so long; whether it was."""
        deadline = time.monotonic() + timeout_s
        while self._calls.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(FLUSH_POLL_S)
        return not self._calls.unfinished_tasks

    def _ensure_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = threading.Thread(target=self._run, name="nudger", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        calls = self._calls
        while True:
            if calls.empty():
                publish = calls.get()
                time.sleep(self._pause_s)
            else:
                publish = calls.get()
            if time.monotonic() >= self._broken_until:
                self._publish(publish)
            else:
                _drop()
            calls.task_done()

    def _publish(self, publish: Callable[[], object]) -> None:
        try:
            publish()
            metrics.NUDGES.labels("sent").inc()
        except Exception as error:  # noqa: BLE001 - transports raise kinds of their own, and this thread must go on
            _drop()
            self._broken_until = time.monotonic() + self._breaker_s
            kind = type(error).__name__
            logger.warning("the broker did not take a nudge (%s); the sweeper will find the work", kind)


def _drop() -> bool:
    metrics.NUDGES.labels("dropped").inc()
    return False


class Publisher:
    """Publishes over one connection of its own, every wait of which is bounded. For the use of one thread.

    Celery's pool would keep its connections after a failure, and its waits are those that suit workers and beat.
    """

    def __init__(self) -> None:
        self._producer: Producer | None = None
        self._is_amqp = False
        os.register_at_fork(after_in_child=self._forget)

    def publish(self, task: Task, args: tuple[object, ...]) -> None:
        """Send one message. Raises whatever the transport raises."""
        if self._producer is not None:
            try:
                self._send(task, args)
            except Exception:  # noqa: BLE001 - see Nudger; most often the connection broke while nobody used it
                self._disconnect()
            else:
                return
        try:
            self._connect(task.app)
            self._send(task, args)
        except Exception:
            self._disconnect()
            raise

    def _send(self, task: Task, args: tuple[object, ...]) -> None:
        task.apply_async(args=args, producer=self._producer, **PUBLISH_OPTIONS)

    def _connect(self, app: Celery) -> None:
        self._is_amqp = "amqp" in str(app.conf.broker_write_url).partition(":")[0]
        options = _AMQP_OPTIONS if self._is_amqp else _REDIS_OPTIONS
        connection = app.connection_for_write(connect_timeout=PUBLISH_TIMEOUT_S, transport_options=options)
        self._producer = app.amqp.Producer(connection, auto_declare=False)

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # over AMQP a farewell would wait for its answer; `collect` closes the socket and no more
        close = producer.connection.collect if self._is_amqp else producer.connection.release
        with contextlib.suppress(Exception):  # a dead connection may fail once more on being closed
            close()

    def _forget(self) -> None:
        self._producer = None


nudger = Nudger()
publisher = Publisher()


@atexit.register
def _flush_at_exit() -> None:
    nudger.flush()


class NudgingTask(Task):  # type: ignore[misc]  # celery has no types
    """Celery's task with `nudge`: at most once, never blocking, for callers whose row is already safe."""

    abstract = True

    def nudge(self, *args: object) -> None:
        """Announce work that is already recorded. `args` must be JSON values."""
        if self.app.conf.task_always_eager:
            self.apply(args=args)
            return
        asked_by = request_id.current()

        def publish() -> None:
            with request_id.serving(asked_by):
                publisher.publish(self, args)

        nudger.submit(publish)
