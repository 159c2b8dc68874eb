"""How long a process lets one statement, one lock and one idle transaction take in the database.

Who serves requests and tasks has such bounds, so that one that hangs gives its connection back; a command that somebody
watches (a migration, a backup) has none. PostgreSQL keeps them: it is told when a connection begins.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections


@dataclass(frozen=True, slots=True)
class Bounds:
    """In seconds. 0: none."""

    statement_s: float
    lock_s: float
    idle_in_transaction_s: float

    def as_options(self) -> str:
        """For libpq's `options`."""
        settings = {
            "statement_timeout": self.statement_s,
            "lock_timeout": self.lock_s,
            "idle_in_transaction_session_timeout": self.idle_in_transaction_s,
        }
        return " ".join(f"-c {name}={round(seconds * 1000)}" for name, seconds in settings.items())


# nobody waits for an answer that long; a model is asked outside of transactions
OF_REQUESTS = Bounds(statement_s=30, lock_s=10, idle_in_transaction_s=60)
# a task is ended after 120 s, its statement with it
OF_TASKS = Bounds(statement_s=120, lock_s=60, idle_in_transaction_s=120)


def bound(bounds: Bounds) -> None:
    """Let every connection that this process opens from now on have them. What DATABASE_URL says itself wins."""
    options = connections.settings["default"].setdefault("OPTIONS", {})
    options["options"] = f"{bounds.as_options()} {options.get('options', '')}".strip()
