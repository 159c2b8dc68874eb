"""The data folder.

    LOCK                      held (flock) by the one process that serves the folder
    RESTORE                   there while libraries are being replaced: see replacement.py
    libraries/<folder>/       one library each; the name is ours, never the client's
        library.sqlite3       its record (with -wal and -shm while it is open)
    libraries/.new-<folder>   a library being made: swept at start
    libraries/.trash-<folder> a library being deleted: swept at start

How a folder comes and goes is told in files.py.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vectordb.errors import DataFolderRefused
from vectordb.storage.files import (
    PRIVATE_FOLDER,
    erase_folder,
    lock_folder,
    new_folder,
    retire_folder,
    sweep_folder,
    sync_folder,
    translated_os_errors,
)
from vectordb.storage.replacement import Replacement, settle_replacement

LIBRARY_FILE = "library.sqlite3"
_OF_FILE_SYSTEMS = frozenset({"lost+found"})


class DataFolder:
    """The folder, locked for as long as this object is open."""

    def __init__(self, path: Path) -> None:
        """Make the folder when it is not there, lock it and sweep it. Raises DataFolderRefused."""
        self._path = path
        self._libraries = path / "libraries"
        try:
            is_new = not path.exists()
            self._libraries.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            self._lock = lock_folder(path)
            sync_folder(path)
            if is_new:
                sync_folder(path.parent)
            settle_replacement(path, self._libraries)
            sweep_folder(self._libraries)
        except OSError as exc:
            raise DataFolderRefused(f"the data folder {path} cannot be used: {exc.strerror}") from exc

    def close(self) -> None:
        """Give the lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def list_libraries(self) -> list[Path]:
        """Return the folders of all libraries. Raises DataFolderRefused when something else stands among them.

        Hidden files are passed over, and what file systems keep for themselves.
        """
        with translated_os_errors():
            found = sorted(self._libraries.iterdir())
        paths = [path for path in found if not path.name.startswith(".") and path.name not in _OF_FILE_SYSTEMS]
        for path in paths:
            if not (path / LIBRARY_FILE).is_file():
                raise DataFolderRefused(f"{path} is no library: there is no {LIBRARY_FILE} in it; move it away")
        return paths

    @contextmanager
    def new_library(self) -> Iterator[tuple[Path, Path]]:
        """Give (a folder to make a library in, where it stands, for good, when the block ends); gone when it raises."""
        name = uuid.uuid4().hex
        with translated_os_errors(), new_folder(self._libraries, name) as draft:
            yield draft, self._libraries / name

    def begin_replacement(self, count: int) -> Replacement:
        """Make `count` folders for libraries that are to take others' places. Raises StorageFull, StorageFailed."""
        with translated_os_errors():
            return Replacement(self._path, [self._libraries / uuid.uuid4().hex for _ in range(count)])

    def retire_library(self, folder: Path) -> Path:
        """Take a library's folder out of the libraries; return where it waits for `erase_retired`.

        Those who have its file open may go on. When this raises, the folder is where it was.
        """
        with translated_os_errors():
            return retire_folder(folder)

    def erase_retired(self, trash: Path) -> None:
        """Delete a retired library's folder for good; nobody writes to its file any more."""
        with translated_os_errors():
            erase_folder(trash)


def measure_folder(path: Path) -> int:
    """Return the bytes of the files in a folder. Raises StorageFailed, also when the folder is gone."""
    total = 0
    with translated_os_errors():
        for entry in path.iterdir():
            try:
                total += entry.stat().st_size
            except FileNotFoundError:  # SQLite took a file away meanwhile
                continue
    return total
