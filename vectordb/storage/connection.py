"""How a library's SQLite file is opened, and what its errors mean.

The settings are those that were measured to lose nothing: WAL with synchronous=FULL (each commit is fsynced),
secure_delete (what is deleted is overwritten), no memory mapping, and no checkpoint behind our back: SQLite passes over
the errors of its automatic ones, so that the writer asks for them itself and hears of a failing disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from vectordb.errors import StorageFailed, StorageFull, Unavailable

_BUSY_TIMEOUT_MS = 500
_PRAGMAS = """
PRAGMA secure_delete = ON;
PRAGMA synchronous = FULL;
PRAGMA mmap_size = 0;
PRAGMA temp_store = MEMORY;
PRAGMA foreign_keys = ON;
PRAGMA trusted_schema = OFF;
PRAGMA wal_autocheckpoint = 0;
"""


def open_connection(path: Path, *, create: bool = False, vfs: str | None = None) -> apsw.Connection:
    """Return a connection to `path`, set up as above; the file must exist unless `create`.

    `vfs` names another registered SQLite VFS (tests make disks fail with one). Raises StorageFailed.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    with translated_errors():
        connection = apsw.Connection(str(path), flags=flags, vfs=vfs)
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        mode = connection.pragma("journal_mode", "wal")
        if mode != "wal":
            raise StorageFailed(f"the file system does not carry SQLite's write-ahead log (journal_mode={mode})")
        connection.execute(_PRAGMAS)
    return connection


def open_read_only(path: Path) -> apsw.Connection:
    """Return a connection to a file that nobody changes; nothing is written, nor beside it. Raises StorageFailed."""
    with translated_errors():
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        return apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except apsw.FullError as exc:
        raise StorageFull("the disk is full; nothing of this write was kept") from exc
    except apsw.BusyError as exc:
        raise Unavailable("the library's file is busy; try again") from exc
    except apsw.Error as exc:
        raise StorageFailed(f"the library's storage failed: {type(exc).__name__}") from exc


@contextmanager
def savepoint(connection: apsw.Connection) -> Iterator[None]:
    """Keep what is done inside, or nothing of it when it raises; inside a transaction."""
    connection.execute("SAVEPOINT job")
    try:
        yield
    except BaseException:
        # After some errors (a full disk) SQLite has rolled the whole transaction back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        raise
    connection.execute("RELEASE job")
