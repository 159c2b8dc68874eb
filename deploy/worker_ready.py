"""Tells by a file that a Celery worker is ready: `celery … worker --include deploy.worker_ready`.

The file is the one that WORKER_READY_FILE names. A look at a file costs nothing; `celery inspect ping` starts a
whole process for each look.
"""

from __future__ import annotations

import os
from pathlib import Path

from celery.signals import worker_ready, worker_shutting_down


def create_file(**_: object) -> None:
    if path := os.environ.get("WORKER_READY_FILE"):
        Path(path).touch()


def remove_file(**_: object) -> None:
    if path := os.environ.get("WORKER_READY_FILE"):
        Path(path).unlink(missing_ok=True)


worker_ready.connect(create_file)
worker_shutting_down.connect(remove_file)
