"""The id by which a request's lines are found in every process that had to do with it.

It is ambient: whoever writes a line or calls a neighbour somewhere below takes it from here.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "X-Request-ID"
NONE = "-"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_current: ContextVar[str] = ContextVar("request_id", default=NONE)


def current() -> str:
    """The id of the request that this is done for; `-` outside of any."""
    return _current.get()


def accept_or_make(offered: str | None) -> str:
    """The id that a client or a proxy offers, if it is one that may stand in a log line; else a new one."""
    if offered is not None and _WELL_FORMED.fullmatch(offered):
        return offered
    return uuid.uuid4().hex


@contextmanager
def serving(request_id: str) -> Iterator[None]:
    """Within it, on this thread, everything is done for that request."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)
