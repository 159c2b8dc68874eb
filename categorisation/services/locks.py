"""Locks that are no rows: of a session, for what only one process at a time may do without an open transaction; and of
a project's categories, which have a queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection

_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's codes
_DEADLOCK_DETECTED = "40P01"


@contextmanager
def session_lock(name: str) -> Iterator[bool]:
    """Whether this connection got the lock of that name, which it then holds until the block is left.

    A connection that breaks loses it, so what is done under it must be harmless when two do it.
    """
    is_held = _call("pg_try_advisory_lock", name)
    try:
        yield is_held
    finally:
        if is_held:
            with suppress(DatabaseError, InterfaceError):  # the connection is broken, and the lock gone with it
                _call("pg_advisory_unlock", name)


def share_categories(project_id: UUID) -> None:
    """Keep the project's categories as they are until the transaction ends. Before any of their rows, or threads'.

    FOR SHARE has no queue: writers that overlap, one after another, would keep who changes a category out for ever.
    This lets nobody pass who came later.
    """
    _call("pg_advisory_xact_lock_shared", f"categories of {project_id}")


def own_categories(project_id: UUID) -> None:
    """Be the only one to use the project's categories until the transaction ends, as soon as those have done who do."""
    _call("pg_advisory_xact_lock", f"categories of {project_id}")


@contextmanager
def bounded_waits(longest_s: float) -> Iterator[None]:
    """Wait for no lock longer: OperationalError instead, which `could_not_lock` knows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, false)", [f"{longest_s}s"]
        )
        before = cursor.fetchone()[0]
    try:
        yield
    finally:
        with suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:  # a broken connection forgets it
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])


def could_not_lock(error: DatabaseError) -> bool:
    return _code_of(error) == _LOCK_NOT_AVAILABLE


def was_a_deadlock(error: DatabaseError) -> bool:
    """Two locked the same rows in different orders, and PostgreSQL ended this one."""
    return _code_of(error) == _DEADLOCK_DETECTED


def _code_of(error: DatabaseError) -> str | None:
    code: str | None = getattr(error.__cause__, "pgcode", None)
    return code


def _call(function: str, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(hashtextextended(%s, 0))", [name])
        return bool(cursor.fetchone()[0])
