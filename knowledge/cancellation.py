"""Ending a wait for the network from another thread: of what nobody waits for any more, a streamed answer, say.

It is ambient, as a deadline or a transaction is: who waits somewhere below need not be told by everybody between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[], object]


class Cancelled(Exception):
    """Whoever asked for this goes without it. Nobody is told of it: there is nobody left to tell."""


class Cancellation:
    """Requested by one thread, heard by another; requested once, it stays so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_requested = False
        self._listeners: list[Listener] = []

    @property
    def is_requested(self) -> bool:
        return self._is_requested

    def request(self) -> None:
        """Call every listener. Safe from any thread, and to be repeated."""
        with self._lock:
            self._is_requested = True
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    @contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Within it the listener is called when it is requested: at once when it was before."""
        with self._lock:
            is_late = self._is_requested
            if not is_late:
                self._listeners.append(listener)
        if is_late:
            listener()
        try:
            yield
        finally:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)


_current: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


@contextmanager
def cancellable_by(cancellation: Cancellation) -> Iterator[None]:
    """Within it, on this thread, waits for the network end with Cancelled when it is requested."""
    token = _current.set(cancellation)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def on_cancellation(listener: Listener) -> Iterator[None]:
    """Within it the listener is called when what runs here is cancelled, if anybody may do so."""
    cancellation = _current.get()
    if cancellation is None:
        yield
        return
    with cancellation.heard_by(listener):
        yield
