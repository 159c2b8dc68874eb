"""How many calls a key may make: exact under concurrency, and over all processes, because PostgreSQL counts.

The generic cell rate algorithm (ITU-T I.371, annex A: a leaky bucket as a meter). A key's row keeps the moment at which
its bucket will be empty again. Each call moves it on by one call's share of the window; one that would move it beyond a
whole window is refused and moves nothing. So a key that was idle may spend a window's calls at once, and then as many a
minute as it is allowed: no minute, wherever it begins, sees more than twice the limit, nor does an hour see more than
its share and one window's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Buckets:
    """A table of buckets: which, and the column of their key."""

    table: str
    key_column: str

    @property
    def take(self) -> str:
        # The clock is read once the row's lock is had: calls that waited for each other are counted one after another.
        # A bucket that would be empty later than one that is full says that the clock was set back: it begins anew.
        filled_until = (
            "(CASE WHEN b.empty_at <= clock_timestamp() + %(window)s * interval '1 second' THEN b.empty_at END)"
        )
        return f"""
            WITH taken AS (
                INSERT INTO {self.table} AS b ({self.key_column}, empty_at)
                VALUES (%(key)s, clock_timestamp() + %(step)s * interval '1 second')
                ON CONFLICT ({self.key_column}) DO UPDATE
                SET empty_at = GREATEST({filled_until}, clock_timestamp()) + %(step)s * interval '1 second'
                WHERE GREATEST({filled_until}, clock_timestamp()) + %(step)s * interval '1 second'
                    <= clock_timestamp() + %(window)s * interval '1 second'
                RETURNING empty_at
            )
            SELECT extract(epoch FROM empty_at - clock_timestamp())::float8 FROM taken
        """  # noqa: S608 - this very code's own constants

    @property
    def look(self) -> str:
        return f"""
            SELECT extract(epoch FROM empty_at - clock_timestamp())::float8 FROM {self.table}
             WHERE {self.key_column} = %(key)s
        """  # noqa: S608 - this very code's own constants


KEYS = Buckets("teams_ratebucket", "api_key_id")
LOGINS = Buckets("teams_loginbucket", "subject")


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether a call is let pass, and what is left: `limit` and `remaining` in calls, times in whole seconds."""

    is_allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_after_s: int = 0


def take_call(key_id: UUID, per_minute: int) -> Taken:
    """Count one call of the key, if it may be made."""
    return take(KEYS, key_id, limit=per_minute, window_s=WINDOW_S)


def take(buckets: Buckets, key: UUID | str, *, limit: int, window_s: float) -> Taken:
    """Count one call of whoever the bucket belongs to, if it may be made: `limit` of them fill a whole window."""
    step_s = window_s / limit
    parameters = {"key": key, "step": step_s, "window": window_s}
    with connection.cursor() as cursor:
        cursor.execute(buckets.take, parameters)
        row = cursor.fetchone()
        if row is not None:
            return _allow(limit, max(0.0, row[0]), step_s, window_s)
        cursor.execute(buckets.look, parameters)
        row = cursor.fetchone()
    filled_s = max(0.0, row[0]) if row else 0.0
    wait_s = max(1, math.ceil(filled_s + step_s - window_s))
    return Taken(False, limit, 0, reset_s=math.ceil(filled_s), retry_after_s=wait_s)


def _allow(limit: int, filled_s: float, step_s: float, window_s: float) -> Taken:
    remaining = max(0, int((window_s - filled_s) / step_s + 1e-6))
    return Taken(True, limit, remaining, reset_s=math.ceil(filled_s))
