"""The secrets of a set of containers: made once, at their first start, each where those who need it find it.

One folder for each kind of container, to be mounted there and nowhere else:

    service     what the service's processes read as settings, and the passwords that others' files are made of
    postgres    password: its superuser's
    rabbitmq    parley.conf: its user's. Nothing else: RabbitMQ takes every file there for configuration
    vectordb    VECTORDB_API_KEY, VECTORDB_METRICS_TOKEN; VECTORDB_PREVIOUS_API_KEY while the key changes
    flower      CELERY_BROKER_URL
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

FOLDERS = ("service", "postgres", "rabbitmq", "vectordb", "flower")
FOREIGN = ("postgres", "rabbitmq")  # these run under accounts of their own


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """One process at a time makes or changes secrets: half of a change is no ground for another. Raises OSError."""
    descriptor = os.open(folder / "service", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_secrets(folder: Path) -> bool:
    """Write what is missing into `folder`'s FOLDERS, which are there; whether anything was.

    What is there stays: a password that its database has seen once is that database's. Raises OSError.
    """
    _sweep(folder)
    service = folder / "service"
    database_password = _make_once(service / "database-password")
    broker_password = _make_once(service / "broker-password")
    vectordb_key = _make_once(service / "VECTORDB_API_KEY")
    metrics_token = _make_once(service / "METRICS_TOKEN")
    broker_url = f"amqp://parley:{broker_password}@rabbitmq:5672//"
    texts = {
        "service/SECRET_KEY": secrets.token_urlsafe(48),
        "service/DATABASE_URL": f"postgresql://parley:{database_password}@postgres:5432/parley",
        "service/CELERY_BROKER_URL": broker_url,
        "postgres/password": database_password,
        "rabbitmq/parley.conf": f"default_user = parley\ndefault_pass = {broker_password}\nlog.console = true\n",
        "vectordb/VECTORDB_API_KEY": vectordb_key,
        "vectordb/VECTORDB_METRICS_TOKEN": metrics_token,
        "flower/CELERY_BROKER_URL": broker_url,
    }
    written = [write_new(folder / name, text) for name, text in texts.items()]
    return any(written)


def read_secrets(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the folder's settings in it, each by its file's name; what is set there already wins."""
    files = [path for path in sorted(folder.iterdir()) if path.name.isupper() and "." not in path.name]
    found = {path.name: path.read_text().strip() for path in files}
    return {**found, **{name: value for name, value in environ.items() if value or name not in found}}


def _sweep(folder: Path) -> None:
    """Delete what a process left that was killed while it wrote."""
    for name in FOLDERS:
        for scratch in (folder / name).glob(".*"):
            scratch.unlink(missing_ok=True)


def _make_once(path: Path) -> str:
    write_new(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def write_new(path: Path, text: str) -> bool:
    """Whole or not at all, and never over what is there."""
    if path.exists():
        return False
    scratch = _write_scratch(path, text)
    try:
        os.link(scratch, path)
    except FileExistsError:
        return False
    finally:
        scratch.unlink()
    return True


def write_over(path: Path, text: str) -> None:
    """The new one or the one before, whole."""
    _write_scratch(path, text).replace(path)


def _write_scratch(path: Path, text: str) -> Path:
    """Under a name that no one before had: in a container every start has the same process id."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    mode = 0o444 if path.parent.name in FOREIGN else 0o400
    descriptor = os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)  # whatever the umask
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return scratch
