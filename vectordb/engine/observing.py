"""What the engine tells whoever measures it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

Step = Literal["filter", "vectors", "words", "payload"]


class Observer(Protocol):
    """Is told from any thread, and must be quick."""

    def note_step(self, step: Step, seconds: float) -> None:
        """A step of a search took so long."""

    def note_commit(self, seconds: float) -> None:
        """A commit, which fsyncs the log, took so long."""


class Unobserved:
    """Nobody measures."""

    def note_step(self, step: Step, seconds: float) -> None:
        """Pass it over."""

    def note_commit(self, seconds: float) -> None:
        """Pass it over."""


@contextmanager
def timed_step(observer: Observer, step: Step) -> Iterator[None]:
    """Tell `observer` how long the block takes."""
    started = time.perf_counter()
    yield
    observer.note_step(step, time.perf_counter() - started)
