"""Whether this worker is being shut down, told from the parent process to its children.

Celery tells only the parent. It sets one byte of memory that was shared before the children were forked, at which
whoever works for long looks now and then.
"""

from __future__ import annotations

import mmap

from celery.signals import worker_shutting_down

_flag = mmap.mmap(-1, 1)


def is_shutting_down() -> bool:
    """Whether to begin nothing more, and to end what is under way."""
    return _flag[0] != 0


def announce_shutdown(**_: object) -> None:
    _flag[0] = 1


worker_shutting_down.connect(announce_shutdown)
