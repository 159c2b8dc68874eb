"""Ctrl-C and SIGTERM as a question that the runner asks, never as an exception at an arbitrary point."""

from __future__ import annotations

import signal
import time
from types import FrameType

from deploy.local.errors import StopRequested

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLICE_S = 0.1


class StopSignals:
    """Counts the requests to stop from the moment it is made."""

    def __init__(self) -> None:
        self._count = 0
        for number in STOP_SIGNALS:
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._count += 1

    def pause(self, seconds: float) -> None:
        """Sleep. Raises StopRequested at once when someone asks to stop."""
        deadline = time.monotonic() + seconds
        while True:
            if self._count:
                raise StopRequested
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(left_s, SLICE_S))

    def are_repeated(self) -> bool:
        """Whether someone asked more than once: what is left is to be ended by force."""
        return self._count > 1
