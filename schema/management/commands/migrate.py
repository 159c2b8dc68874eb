"""`manage.py migrate` that no request has to wait for long.

PostgreSQL's locks queue: while an ALTER TABLE waits for one idle transaction, every later read of that table waits
behind it. So no statement here waits longer than half a second: it gives up, what had been queued behind it goes on,
and it is tried again after a pause. What has been applied by then stays applied. Operations that block nobody while
they wait (schema.operations) have a timeout of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import uniform
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

LOCK_TIMEOUT_MS = 500
TRIES = 60
LONGEST_PAUSE_S = 5.0
LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED = "55P03", "40P01"

_OLDEST_TRANSACTIONS = """
SELECT pid, coalesce(nullif(application_name, ''), usename), state, extract(epoch FROM now() - xact_start)::int
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
 ORDER BY xact_start LIMIT 3
"""


class Command(migrate.Command):
    """Django's command, with a bound on every wait for a lock."""

    def __init__(self, *args: Any, pause: Callable[[float], None] = time.sleep, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pause = pause

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--lock-timeout-ms",
            type=int,
            default=LOCK_TIMEOUT_MS,
            help=f"How long a statement waits for a lock, and requests behind it. Default: {LOCK_TIMEOUT_MS}.",
        )
        parser.add_argument(
            "--lock-tries", type=int, default=TRIES, help=f"How often a lock is tried for. Default: {TRIES}."
        )

    def handle(self, *args: Any, lock_timeout_ms: int, lock_tries: int, **options: Any) -> None:
        connection = connections[options["database"]]
        if connection.in_atomic_block:  # the caller's transaction cannot be tried again
            super().handle(*args, **options)
            return
        before = _set_lock_timeout(connection, f"{lock_timeout_ms}ms")
        try:
            for number in range(1, lock_tries + 1):
                try:
                    super().handle(*args, **options)
                    return
                except OperationalError as error:
                    if getattr(error.__cause__, "pgcode", None) not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
                        raise
                    cause = str(error).splitlines()[0]
                    if number == lock_tries:
                        raise CommandError(_explain(connection, cause, number)) from error
                self.stdout.write(f"  another transaction is in the way ({cause}): try {number} of {lock_tries}")
                self._pause(min(LONGEST_PAUSE_S, 0.5 * number) * uniform(0.5, 1.0))  # noqa: S311
        finally:
            _set_lock_timeout(connection, before)


def _set_lock_timeout(connection: BaseDatabaseWrapper, value: str) -> str:
    """Set it for the session; what it was."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, false)", [value])
        before, _ = cursor.fetchone()
    return str(before)


def _explain(connection: BaseDatabaseWrapper, cause: str, tries: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_TRANSACTIONS)
        oldest = [f"  pid {pid} ({who}), {state} for {age_s} s" for pid, who, state, age_s in cursor.fetchall()]
    return "\n".join(
        [
            f"The tables could not be locked in {tries} tries ({cause}). What was applied stays applied.",
            "The oldest open transactions are:",
            *(oldest or ["  none, by now"]),
            "Let them end, or end them with SELECT pg_terminate_backend(pid), and migrate again.",
        ]
    )
