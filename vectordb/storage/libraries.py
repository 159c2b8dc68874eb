"""The one row that says what a library is."""

from dataclasses import dataclass
from typing import cast

import apsw

from vectordb.errors import StorageFailed
from vectordb.schemas.base import Metric


@dataclass(frozen=True, slots=True)
class LibraryRow:
    """What is stored of a library; `metadata` and `index_spec` are JSON text."""

    id: str
    name: str
    metadata: str
    dimension: int
    metric: Metric
    index_spec: str | None
    created_at: int
    updated_at: int


class LibraryRepository:
    """Reads and writes the row, and counts log positions."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def insert(self, row: LibraryRow) -> None:
        """Write the row of a new library, at log position 0."""
        self._connection.execute(
            "INSERT INTO library VALUES (1, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
            (
                *(row.id, row.name, row.metadata, row.dimension, row.metric, row.index_spec),
                *(row.created_at, row.updated_at),
            ),
        )

    def read(self) -> LibraryRow:
        """Return the row. Raises StorageFailed when it is missing."""
        values = self._connection.execute(
            "SELECT id, name, metadata, dimension, metric, index_spec, created_at, updated_at FROM library"
        ).get
        if values is None:
            raise StorageFailed("the file does not say which library it holds")
        return LibraryRow(*cast("tuple[str, str, str, int, Metric, str | None, int, int]", values))

    def update(self, *, name: str, metadata: str, now: int) -> None:
        """Replace name and metadata."""
        self._connection.execute("UPDATE library SET name = ?, metadata = ?, updated_at = ?", (name, metadata, now))

    def read_log_position(self) -> int:
        """Return the log position of the last write."""
        return cast("int", self._connection.execute("SELECT log_position FROM library").get)

    def raise_log_position(self, position: int) -> None:
        """Let the log go on from `position`, unless it is beyond that."""
        self._connection.execute("UPDATE library SET log_position = max(log_position, ?)", (position,))

    def advance_log_position(self) -> int:
        """Count one more write; return its log position."""
        return cast(
            "int",
            self._connection.execute("UPDATE library SET log_position = log_position + 1 RETURNING log_position").get,
        )
