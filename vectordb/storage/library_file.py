"""A library's file, open: one connection with its repositories, and a pool of such for readers."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from vectordb.errors import Unavailable, VectorDBError
from vectordb.storage.chunks import ChunkRepository
from vectordb.storage.connection import open_connection, open_read_only, translated_errors
from vectordb.storage.documents import DocumentRepository
from vectordb.storage.folder import LIBRARY_FILE
from vectordb.storage.libraries import LibraryRepository, LibraryRow
from vectordb.storage.tables import check_version, create_tables

_log = logging.getLogger(__name__)


class LibraryFile:
    """One connection to a library's SQLite file. For one thread at a time."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.library = LibraryRepository(connection)
        self.documents = DocumentRepository(connection)
        self.chunks = ChunkRepository(connection)
        self.wal_pages = 0
        connection.set_wal_hook(self._note_wal_pages)

    @classmethod
    def create(cls, folder: Path, row: LibraryRow, *, vfs: str | None = None) -> None:
        """Make the file of a new library in `folder`."""
        connection = open_connection(folder / LIBRARY_FILE, create=True, vfs=vfs)
        with translated_errors():
            try:
                with connection:
                    create_tables(connection)
                    LibraryRepository(connection).insert(row)
            finally:
                connection.close()

    @classmethod
    def open(cls, folder: Path, *, vfs: str | None = None) -> "LibraryFile":
        """Open the file in `folder`. Raises StorageFailed, and DataFolderRefused for another schema version."""
        connection = open_connection(folder / LIBRARY_FILE, vfs=vfs)
        try:
            with translated_errors():
                check_version(connection)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    @classmethod
    def open_copy(cls, path: Path) -> "LibraryFile":
        """Open a copy that nobody changes, to read it. Raises StorageFailed."""
        return cls(open_read_only(path))

    def checkpoint(self, *, erase: bool) -> bool:
        """Bring the log into the file; with `erase`, empty the log, so that nothing deleted is left in it.

        Return whether that was done whole; a reader may stand in the way.
        """
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if erase else apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            in_log, moved = self.connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return False
        self.wal_pages = in_log - moved
        return in_log == moved

    def close(self, *, discard: bool = False) -> None:
        """Close the connection; with `discard`, without bringing the log into a file that is being deleted."""
        with translated_errors():
            if discard:
                self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self.connection.close()

    def _note_wal_pages(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK


class ReaderPool:
    """Connections for reading, each lent to one thread at a time; as many as there are readers at once."""

    def __init__(self, folder: Path, *, vfs: str | None = None) -> None:
        self._folder = folder
        self._vfs = vfs
        self._guard = threading.Lock()
        self._idle: list[LibraryFile] = []
        self._closed = False
        self._discard = False
        self._make_refusal: Callable[[], VectorDBError] | None = None

    @contextmanager
    def reader(self) -> Iterator[LibraryFile]:
        """Lend a connection. Raises StorageFailed when reading fails, Unavailable when the library is closed.

        Once readers are refused (see `refuse`), storage that fails under one that was let in before is refused alike:
        its file was taken away.
        """
        try:
            with self._lend() as file, translated_errors():
                yield file
        except Unavailable as exc:
            if self._make_refusal is None:
                raise
            raise self._make_refusal() from exc

    def refuse(self, make_refusal: Callable[[], VectorDBError] | None) -> None:
        """Turn readers away from now on, or take them again with None."""
        self._make_refusal = make_refusal

    def close(self, *, discard: bool = False) -> None:
        """Close what is idle; what is lent is closed when it comes back. `discard`: the file is being deleted."""
        with self._guard:
            self._closed = True
            self._discard = discard
            idle, self._idle = self._idle, []
        for file in idle:
            self._close(file)

    @contextmanager
    def _lend(self) -> Iterator[LibraryFile]:
        with self._guard:
            if self._make_refusal is not None:
                raise self._make_refusal()
            if self._closed:
                raise Unavailable("the library is closed")
            file = self._idle.pop() if self._idle else None
        if file is None:
            file = LibraryFile.open(self._folder, vfs=self._vfs)
        try:
            yield file
        finally:
            self._give_back(file)

    def _give_back(self, file: LibraryFile) -> None:
        with self._guard:
            if not self._closed:
                self._idle.append(file)
                return
        self._close(file)

    def _close(self, file: LibraryFile) -> None:
        try:
            file.close(discard=self._discard)
        except Unavailable as exc:  # the last one to close brings the log into the file; the log stays, for next time
            _log.error("%s: closing a reader failed: %s", self._folder, exc)
