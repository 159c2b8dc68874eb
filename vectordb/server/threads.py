"""The threads that carry what would hold the event loop up."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")

_MOST_READERS = 8
_MOST_WRITERS = 4
_MOST_CHANGERS = 8


class Threads:
    """Threads in three parts, so that none of them is kept waiting by another.

    A read never stands behind a write for a thread, nor behind a library that is being deleted, which takes as long as
    the write that it is in the middle of.
    """

    def __init__(self) -> None:
        self._reads = ThreadPoolExecutor(_MOST_READERS, "read")
        self._writes = ThreadPoolExecutor(_MOST_WRITERS, "write")
        self._changes = ThreadPoolExecutor(_MOST_CHANGERS, "change")

    async def read(self, call: Callable[[], R]) -> R:
        """Carry a read, which waits for no writer."""
        return await _carry(self._reads, call)

    async def write(self, call: Callable[[], R]) -> R:
        """Carry the work of a write before it is queued, which waits for no writer either."""
        return await _carry(self._writes, call)

    async def change(self, call: Callable[[], R]) -> R:
        """Carry what makes, changes or deletes a library, and may wait for other such calls and for a writer."""
        return await _carry(self._changes, call)

    def close(self) -> None:
        """Let the threads go when they are done with what they are at."""
        for pool in (self._reads, self._writes, self._changes):
            pool.shutdown(wait=False, cancel_futures=True)


async def _carry(pool: ThreadPoolExecutor, call: Callable[[], R]) -> R:
    return await asyncio.get_running_loop().run_in_executor(pool, call)
