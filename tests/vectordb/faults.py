"""Disks that fail on demand: an SQLite VFS over the system's own, and the steps that Python code takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw


class FaultyDisk(apsw.VFS):
    """Register by making one; pass its `name` as `vfs`. Set `fails_sync` or `is_full` while the database is open."""

    def __init__(self, name: str = "faulty") -> None:
        super().__init__(name, "")
        self.name = name
        self.fails_sync = False
        self.is_full = False
        self.syncs = 0

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return _FaultyFile(name, flags, self)


class _FaultyFile(apsw.VFSFile):
    def __init__(self, name, flags, disk: FaultyDisk) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xSync(self, flags):  # noqa: N802
        if self._disk.fails_sync:
            raise apsw.IOError("injected: fsync failed")
        self._disk.syncs += 1
        return super().xSync(flags)

    def xWrite(self, data, offset):  # noqa: N802
        if self._disk.is_full:
            raise apsw.FullError("injected: no space left")
        return super().xWrite(data, offset)


_STEPS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"})
_before_step: list[Callable[[], None]] = []


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if not _before_step or event not in _STEPS:
        return
    if event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    call = _before_step.pop()  # what it does itself is no step
    try:
        call()
    finally:
        _before_step.append(call)


@contextmanager
def before_each_step(call: Callable[[], None]) -> Iterator[None]:
    """Call before each step by which Python code changes the file system inside the block; SQLite's are not among them.

    The call may raise OSError, and the step fails with that.
    """
    if not _installed:
        sys.addaudithook(_watch)  # for good: Python has no way to take one away
        _installed.append(True)
    _before_step.append(call)
    try:
        yield
    finally:
        _before_step.clear()


_installed: list[bool] = []
