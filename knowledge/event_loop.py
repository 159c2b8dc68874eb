"""An event loop in a thread of its own, for synchronous code that needs a deadline over a whole network call.

A socket's timeout bounds each read, never the sum: a server that sends one byte a second holds a synchronous caller for
hours. A coroutine can be cancelled at its deadline, connection and all.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines for any number of lanes; its thread starts at once and ends with `close` or the process."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result], *, timeout_s: float) -> Result:
        """Return the coroutine's result. Raises TimeoutError, with the coroutine cancelled, and whatever it raises."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, timeout_s), self._loop).result()

    def close(self) -> None:
        """End the thread. To be called when no coroutine runs any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
