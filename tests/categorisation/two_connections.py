"""A second person at the database: actions in a Python thread of their own, on a connection of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.db import connection, transaction

T = TypeVar("T")
TIMEOUT_S = 20.0


def on_another_connection(action: Callable[[], T]) -> T:
    """Run it to its end."""
    with started_on_another_connection(action) as future:
        return future.result(TIMEOUT_S)


@contextmanager
def started_on_another_connection(action: Callable[[], T]) -> Iterator[Future[T]]:
    """Start it, and wait for its end when the block is left. The block may take the error from the future."""

    def run() -> T:
        try:
            return action()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as somebody_else:
        yield somebody_else.submit(run)


@contextmanager
def uncommitted_on_another_connection(action: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Run it, and hold its transaction open until the block calls what it is given, or is left."""
    done, may_commit = threading.Event(), threading.Event()

    def run() -> None:
        with transaction.atomic():
            action()
            done.set()
            may_commit.wait(TIMEOUT_S)

    with started_on_another_connection(run) as future:
        while not done.wait(0.005):
            if future.done():
                break
        try:
            yield may_commit.set
        finally:
            may_commit.set()
            future.result(TIMEOUT_S)


def wait_until_somebody_waits_for_a_lock(unless: Future[object] | None = None, *, count: int = 1) -> None:
    """Or so many do. Returns at once when `unless` is over: it waited for nobody."""
    deadline = time.monotonic() + TIMEOUT_S
    with connection.cursor() as cursor:
        while time.monotonic() < deadline and not (unless and unless.done()):
            cursor.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND datname = current_database()"
            )
            if cursor.fetchone()[0] >= count:
                return
            time.sleep(0.005)
    if not (unless and unless.done()):
        raise AssertionError("nobody waits for a lock")
