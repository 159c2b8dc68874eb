"""Locks that are no rows: of a project's categories, which have a queue; and bounds on the waits for any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection

from schema.locks import call_lock

_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's codes
_DEADLOCK_DETECTED = "40P01"


def share_categories(project_id: UUID) -> None:
    """Keep the project's categories as they are until the transaction ends. Before any of their rows, or threads'.

    FOR SHARE has no queue: writers that overlap, one after another, would keep who changes a category out for ever.
    This lets nobody pass who came later.
    """
    call_lock("pg_advisory_xact_lock_shared", f"categories of {project_id}")


def own_categories(project_id: UUID) -> None:
    """Be the only one to use the project's categories until the transaction ends, as soon as those have done who do."""
    call_lock("pg_advisory_xact_lock", f"categories of {project_id}")


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
