"""A disk that fails on demand: an SQLite VFS over the system's own."""

from __future__ import annotations

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
