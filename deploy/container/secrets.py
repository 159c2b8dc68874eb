"""The secrets of a set of containers: made once, at their first start, each where those who need it find it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

READABLE_BY_ITS_MOUNTERS = 0o444  # containers run as users of their own; who may read it is who mounts the folder


def make_secrets(folder: Path, postgres_folder: Path, rabbitmq_folder: Path) -> bool:
    """Write what is missing; whether anything was. What is there stays, so that a password never leaves its database.

    `folder` is the service's, and gets SECRET_KEY, VECTORDB_API_KEY, METRICS_TOKEN, DATABASE_URL and
    CELERY_BROKER_URL.
    """
    password = _make_once(postgres_folder / "password")
    broker_password = _make_once(rabbitmq_folder / "password")
    _write_once(
        rabbitmq_folder / "20-parley.conf",
        f"default_user = parley\ndefault_pass = {broker_password}\nlog.console = true\n",
    )
    written = [
        _write_once(folder / name, text)
        for name, text in {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "VECTORDB_API_KEY": secrets.token_urlsafe(32),
            "METRICS_TOKEN": secrets.token_urlsafe(32),
            "DATABASE_URL": f"postgresql://parley:{password}@postgres:5432/parley",
            "CELERY_BROKER_URL": f"amqp://parley:{broker_password}@rabbitmq:5672//",
        }.items()
    ]
    return any(written)


def read_secrets(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the folder's files in it, each by its name; what is set there already wins."""
    found = {path.name: path.read_text().strip() for path in sorted(folder.glob("[A-Z]*")) if path.is_file()}
    return {**found, **{name: value for name, value in environ.items() if value or name not in found}}


def _make_once(path: Path) -> str:
    _write_once(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def _write_once(path: Path, text: str) -> bool:
    """Whole or not at all, and never over what is there."""
    if path.exists():
        return False
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, READABLE_BY_ITS_MOUNTERS)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    try:
        os.link(scratch, path)
    except FileExistsError:
        return False
    finally:
        scratch.unlink()
    return True
