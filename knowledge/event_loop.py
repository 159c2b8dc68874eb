"""An event loop in a thread of its own, for synchronous code that needs a deadline over a whole network call.

A socket's timeout bounds each read, never the sum: a server that sends one byte a second holds a synchronous caller for
hours. A coroutine can be cancelled at its deadline, connection and all; and before it, when nobody waits any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from typing import Any, TypeVar

from knowledge.cancellation import Cancelled, on_cancellation

Result = TypeVar("Result")
Item = TypeVar("Item")


class LoopThread:
    """Runs coroutines for any number of lanes; its thread starts at once and ends with `close` or the process."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result], *, timeout_s: float) -> Result:
        """Return the coroutine's result.

        Raises TimeoutError or Cancelled, with the coroutine cancelled, and whatever it raises.
        """
        future = self._start(coroutine, timeout_s)
        with on_cancellation(future.cancel):
            return _result_of(future)

    def stream(
        self, produce: Callable[[Callable[[Item], None]], Coroutine[Any, Any, None]], *, timeout_s: float
    ) -> Iterator[Item]:
        """Yield what the coroutine emits, as it comes; closing this cancels it.

        `produce` makes the coroutine from the function that it is to emit by. Raises as `run` does.
        """
        emitted: SimpleQueue[tuple[Item] | None] = SimpleQueue()
        future = self._start(produce(lambda item: emitted.put((item,))), timeout_s)
        future.add_done_callback(lambda _: emitted.put(None))
        try:
            with on_cancellation(future.cancel):
                while (wrapped := emitted.get()) is not None:
                    yield wrapped[0]
                _result_of(future)
        finally:
            future.cancel()

    def close(self) -> None:
        """End the thread. To be called when no coroutine runs any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _start(self, coroutine: Coroutine[Any, Any, Result], timeout_s: float) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, timeout_s), self._loop)


def _result_of(future: Future[Result]) -> Result:
    try:
        return future.result()
    except CancelledError:
        raise Cancelled from None
