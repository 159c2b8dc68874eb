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
# The clock is read once the row's lock is had: calls that waited for each other are counted one after another.
_TAKE = """
    WITH taken AS (
        INSERT INTO teams_ratebucket AS b (api_key_id, empty_at)
        VALUES (%(key)s, clock_timestamp() + %(step)s * interval '1 second')
        ON CONFLICT (api_key_id) DO UPDATE
        SET empty_at = GREATEST(b.empty_at, clock_timestamp()) + %(step)s * interval '1 second'
        WHERE GREATEST(b.empty_at, clock_timestamp()) + %(step)s * interval '1 second'
            <= clock_timestamp() + %(window)s * interval '1 second'
        RETURNING empty_at
    )
    SELECT extract(epoch FROM empty_at - clock_timestamp())::float8 FROM taken
"""
_LOOK = """
    SELECT extract(epoch FROM empty_at - clock_timestamp())::float8 FROM teams_ratebucket WHERE api_key_id = %(key)s
"""


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
    step_s = WINDOW_S / per_minute
    parameters = {"key": key_id, "step": step_s, "window": WINDOW_S}
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, parameters)
        row = cursor.fetchone()
        if row is not None:
            return _allow(per_minute, max(0.0, row[0]), step_s)
        cursor.execute(_LOOK, parameters)
        row = cursor.fetchone()
    filled_s = max(0.0, row[0]) if row else 0.0
    wait_s = max(1, math.ceil(filled_s + step_s - WINDOW_S))
    return Taken(False, per_minute, 0, reset_s=math.ceil(filled_s), retry_after_s=wait_s)


def _allow(per_minute: int, filled_s: float, step_s: float) -> Taken:
    remaining = max(0, int((WINDOW_S - filled_s) / step_s + 1e-6))
    return Taken(True, per_minute, remaining, reset_s=math.ceil(filled_s))
