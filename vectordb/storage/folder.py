"""The data folder.

    LOCK                      held (flock) by the one process that serves the folder
    libraries/<folder>/       one library each; the name is ours, never the client's
        library.sqlite3       its record (with -wal and -shm while it is open)
    libraries/.new-<folder>   a library being made: swept at start
    libraries/.trash-<folder> a library being deleted: swept at start

A library comes and goes by one rename, followed by an fsync of the folder that holds the name.
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vectordb.errors import DataFolderRefused, StorageFailed, StorageFull

LIBRARY_FILE = "library.sqlite3"
_NEW = ".new-"
_TRASH = ".trash-"
_OF_FILE_SYSTEMS = frozenset({"lost+found"})


class DataFolder:
    """The folder, locked for as long as this object is open."""

    def __init__(self, path: Path) -> None:
        """Make the folder when it is not there, lock it and sweep it. Raises DataFolderRefused."""
        self._libraries = path / "libraries"
        try:
            is_new = not path.exists()
            self._libraries.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _lock(path / "LOCK")
            sync_folder(path)
            if is_new:
                sync_folder(path.parent)
            self._sweep()
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
        with _translated_errors():
            found = sorted(self._libraries.iterdir())
        paths = [path for path in found if not path.name.startswith(".") and path.name not in _OF_FILE_SYSTEMS]
        for path in paths:
            if not (path / LIBRARY_FILE).is_file():
                raise DataFolderRefused(f"{path} is no library: there is no {LIBRARY_FILE} in it; move it away")
        return paths

    @contextmanager
    def new_library(self) -> Iterator[Path]:
        """Give a folder to make a library in; it is there for good when the block ends, and gone when it raises."""
        name = uuid.uuid4().hex
        draft = self._libraries / (_NEW + name)
        with _translated_errors():
            draft.mkdir(mode=0o700)
        try:
            yield draft
            with _translated_errors():
                sync_folder(draft)
                draft.rename(self.path_of(draft))
                sync_folder(self._libraries)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def path_of(self, draft: Path) -> Path:
        """Return where a folder given by `new_library` stands once it is there for good."""
        return self._libraries / draft.name.removeprefix(_NEW)

    def retire_library(self, folder: Path) -> Path:
        """Take a library's folder out of the libraries; return where it waits for `erase_retired`.

        Those who have its file open may go on. When this raises, the folder is where it was.
        """
        trash = folder.with_name(_TRASH + folder.name)
        with _translated_errors():
            folder.rename(trash)
        return trash

    def erase_retired(self, trash: Path) -> None:
        """Delete a retired library's folder for good; nobody writes to its file any more."""
        with _translated_errors():
            sync_folder(self._libraries)
            shutil.rmtree(trash)
            sync_folder(self._libraries)

    def _sweep(self) -> None:
        for path in self._libraries.iterdir():
            if path.name.startswith((_NEW, _TRASH)):
                shutil.rmtree(path)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def measure_folder(path: Path) -> int:
    """Return the bytes of the files in a folder. Raises StorageFailed, also when the folder is gone."""
    total = 0
    with _translated_errors():
        for entry in path.iterdir():
            try:
                total += entry.stat().st_size
            except FileNotFoundError:  # SQLite took a file away meanwhile
                continue
    return total


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(descriptor)
        raise DataFolderRefused(f"the data folder {path.parent} is in use by another vectordb process") from exc
    return descriptor


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the disk is full") from exc
        raise StorageFailed(f"the data folder failed: {exc.strerror}") from exc
