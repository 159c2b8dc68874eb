"""Time as it is stored and told."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_clock() -> int:
    """Return microseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000


def tell_time(microseconds: int) -> str:
    """Return ISO 8601 in UTC."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")
