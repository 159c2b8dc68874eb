"""Locks of a database session: what only one process at a time may do, without an open transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import DatabaseError, InterfaceError, connection


@contextmanager
def session_lock(name: str) -> Iterator[bool]:
    """Whether this connection got the lock of that name, which it then holds until the block is left.

    A connection that breaks loses it, so what is done under it must be harmless when two do it.
    """
    is_held = call_lock("pg_try_advisory_lock", name)
    try:
        yield is_held
    finally:
        if is_held:
            with suppress(DatabaseError, InterfaceError):  # the connection is broken, and the lock gone with it
                call_lock("pg_advisory_unlock", name)


def call_lock(function: str, name: str) -> bool:
    """Call one of PostgreSQL's functions for advisory locks with a name."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(hashtextextended(%s, 0))", [name])
        return bool(cursor.fetchone()[0])
