"""The folder in which the processes of one server keep their figures together: each counts in files of its own, and
whichever of them is asked adds them all up.

Whoever wants that prepares the folder before observability.metrics is imported. The environment names it, because
prometheus_client looks for it there.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LOCK_TIMEOUT_S = 1.0
_LOCK_POLL_S = 0.01
_PREFIX = "parley-metrics-"
_DEAD = "dead"
_SUMMED = ("counter", "histogram")  # what these have counted stays true when their process is dead
_prepared: Path | None = None


def prepare() -> Path:
    """Make the folder, empty, for this process and those that it will fork, and name it in the environment.

    It lies where METRICS_DIR says, or else among temporary files: there whoever fills the file system with something
    else ends the process (SIGBUS), because the files are written as memory. Asked again, it is the same one. It goes
    when this process ends; what killed ones left behind is deleted here.
    """
    global _prepared
    if _prepared is None:
        place = Path(os.environ.get("METRICS_DIR") or tempfile.gettempdir())
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        _delete_abandoned(place)
        _prepared = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
        atexit.register(_delete, _prepared, os.getpid())
    os.environ[VARIABLE] = str(_prepared)
    return _prepared


def find() -> Path | None:
    """The folder that this process, or the one that it was forked from, has prepared."""
    return _prepared


@contextmanager
def settled(folder: Path) -> Iterator[None]:
    """Within it, what dead processes counted stands together in one file, and what they had in hand is forgotten.

    So neither the folder nor the time that it takes to read grows with the number of processes that ended. One reader
    at a time settles it; who waits too long for that reads what is there.
    """
    with (folder / "lock").open("w") as lock:
        is_ours = _acquire(lock)
        try:
            if is_ours:
                _settle(folder)
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing would not do: a child that was forked meanwhile has it open


def _acquire(lock: IO[str]) -> bool:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOCK_POLL_S)
        else:
            return True


def _settle(folder: Path) -> None:
    of_dead = [path for path in folder.glob("*.db") if _owner_of(path) != _DEAD and not _is_alive(_owner_of(path))]
    for kind in _SUMMED:
        if files := [path for path in of_dead if path.name.startswith(f"{kind}_")]:
            _join(files, folder / f"{kind}_{_DEAD}.db")
    for path in of_dead:
        path.unlink(missing_ok=True)


def _join(files: list[Path], into: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    sums: defaultdict[str, float] = defaultdict(float)
    for path in [*files, *([into] if into.exists() else [])]:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
            sums[key] += value
    draft = into.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    joined = MmapedDict(str(draft))
    for key, value in sums.items():
        joined.write_value(key, value, 0.0)
    joined.close()
    draft.rename(into)


def _owner_of(path: Path) -> str:
    """The process id in `counter_123.db` and `gauge_livesum_123.db`."""
    return path.stem.rpartition("_")[2]


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _delete_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):
            if path.stat().st_uid == os.geteuid() and (owner == str(os.getpid()) or not _is_alive(owner)):
                shutil.rmtree(path, ignore_errors=True)


def _delete(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # what was forked ends, too
        shutil.rmtree(folder, ignore_errors=True)
