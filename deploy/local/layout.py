"""Where everything of one checkout lives, what is kept there, and who may use it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.errors import AlreadyRunning, LocalStackError

REMAINS_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The checkout and its `.run` folder."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / ".run"

    @property
    def logs(self) -> Path:
        return self.run / "log"

    @property
    def figures(self) -> Path:
        """Where each server's processes count together, apart from what fills the folder of temporary files."""
        return self.run / "figures"

    @property
    def demo(self) -> Path:
        return self.run / "demo.json"

    @property
    def runtime(self) -> Path:
        """The addresses of what runs now, for commands beside it."""
        return self.run / "runtime.json"

    @property
    def state(self) -> Path:
        """How far the data is: which migrations it has seen, whether the demo is made."""
        return self.run / "state.json"

    def make(self) -> None:
        """Make `.run`, and everything made from now on private.

        Root leaves the folder itself passable, because PostgreSQL runs under another account there.
        """
        os.umask(0o077)
        try:
            self.run.mkdir(mode=0o700, exist_ok=True)
            if os.geteuid() == 0:
                self.run.chmod(0o711)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as exc:
            raise LocalStackError(f"Cannot write {self.run}: {exc.strerror}.") from exc


def read_json(path: Path) -> dict[str, Any]:
    """A small file of ours; empty when it is not there or was cut off."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
    return {}


def write_private_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small file that only its owner can read; whole or not at all."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load_or_make_keys(layout: Layout) -> dict[str, str]:
    """The keys of this checkout, made once: SECRET_KEY signs sessions, VECTORDB_API_KEY opens its vectordb."""
    path = layout.run / "secrets.json"
    keys: dict[str, str] = read_json(path)
    missing = {"SECRET_KEY", "VECTORDB_API_KEY"} - keys.keys()
    if missing:
        keys |= {name: secrets.token_urlsafe(48) for name in missing}
        write_private_json(path, keys)
    return keys


@contextlib.contextmanager
def lock(layout: Layout, say: Callable[[str], None], pause: Callable[[float], None] = time.sleep) -> Iterator[int]:
    """Hold the folder; yields the descriptor, which the guard keeps open until the last child is gone.

    Raises AlreadyRunning when a live runner has it. The remains of a killed one are waited for.
    """
    path = layout.run / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, layout, say, pause)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def find_runner(layout: Layout) -> int | None:
    """The process id of the runner that holds the folder, or None."""
    try:
        descriptor = os.open(layout.run / "lock", os.O_RDWR)
    except OSError:
        return None
    try:
        return None if _try_lock(descriptor) else _holder(descriptor)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, layout: Layout, say: Callable[[str], None], pause: Callable[[float], None]) -> None:
    deadline = time.monotonic() + REMAINS_TIMEOUT_S
    is_told = False
    while not _try_lock(descriptor):
        holder = _holder(descriptor)
        if holder is not None:
            raise AlreadyRunning(
                f"Parley is already running from this folder ({layout.root}), as process {holder}. "
                f"Stop it with Ctrl-C in its terminal, or by: kill {holder}"
            )
        if time.monotonic() > deadline:
            raise AlreadyRunning(f"What an earlier run in {layout.root} left behind does not end.")
        if not is_told:
            say("waiting for what an earlier run left behind to end")
            is_told = True
        pause(0.1)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> int | None:
    """Who wrote its number into the lock, if it still lives. None: only its guard is left."""
    text = os.pread(descriptor, 20, 0).decode()
    if not text.isdigit():
        return None
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return int(text)
    return int(text)
