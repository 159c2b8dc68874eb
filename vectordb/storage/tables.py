"""The tables of a library's file, and their version (in SQLite's user_version).

    library    one row: what the library is, and the log position of its last write
    documents  number: ours, never reused; id: the client's
    chunks     number: the id by which the indexes know the chunk, never reused

Times are microseconds since 1970 (UTC); metadata is JSON; an embedding is little-endian float32.
"""

import apsw

from vectordb.errors import DataFolderRefused

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE library (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    metadata TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    metric TEXT NOT NULL,
    index_spec TEXT,
    log_position INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    document INTEGER NOT NULL REFERENCES documents (number),
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    embedding BLOB NOT NULL
) STRICT;
CREATE INDEX chunks_by_document ON chunks (document);
"""


def create_tables(connection: apsw.Connection) -> None:
    """Make the tables; inside a transaction."""
    connection.execute(_TABLES)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def check_version(connection: apsw.Connection) -> None:
    """Raise DataFolderRefused when the file was written by another version than this one can read."""
    version = connection.pragma("user_version")
    if version != SCHEMA_VERSION:
        raise DataFolderRefused(f"the library's file has schema version {version}; this program reads {SCHEMA_VERSION}")
