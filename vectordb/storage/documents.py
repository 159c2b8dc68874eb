"""Documents in a library's file."""

from collections.abc import Sequence
from dataclasses import dataclass

import apsw
import orjson

_COLUMNS = """number, id, name, metadata, created_at, updated_at,
    (SELECT count(*) FROM chunks WHERE chunks.document = documents.number)"""


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """What is stored of a document; `metadata` is JSON text, times are microseconds since 1970."""

    number: int
    id: str
    name: str
    metadata: str
    created_at: int
    updated_at: int
    chunk_count: int


class DocumentRepository:
    """Reads and writes documents."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def insert(self, *, id: str, name: str, metadata: str, now: int) -> None:
        """Add a document whose id is not taken."""
        self._connection.execute(
            "INSERT INTO documents (id, name, metadata, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
            (id, name, metadata, now, now),
        )

    def find(self, id: str) -> DocumentRow | None:
        """Return the document, or None."""
        # The columns are this module's own text.
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM documents WHERE id = ?", (id,)).fetchone()  # noqa: S608
        return None if row is None else DocumentRow(*row)

    def find_numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of those of `ids` that are there, by id."""
        rows = self._connection.execute(
            "SELECT id, number FROM documents WHERE id IN (SELECT value FROM json_each(?))",
            (orjson.dumps(list(ids)).decode(),),
        )
        return dict(rows)

    def list_after(self, number: int, limit: int) -> list[DocumentRow]:
        """Return at most `limit` documents with a number beyond `number`, by number."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM documents WHERE number > ? ORDER BY number LIMIT ?",  # noqa: S608
            (number, limit),
        )
        return [DocumentRow(*row) for row in rows]

    def update(self, number: int, *, name: str, metadata: str, now: int) -> None:
        """Replace name and metadata."""
        self._connection.execute(
            "UPDATE documents SET name = ?, metadata = ?, updated_at = ? WHERE number = ?",
            (name, metadata, now, number),
        )

    def delete(self, number: int) -> None:
        """Delete a document that has no chunks left."""
        self._connection.execute("DELETE FROM documents WHERE number = ?", (number,))

    def count(self) -> int:
        """Return how many there are."""
        count: int = self._connection.execute("SELECT count(*) FROM documents").get
        return count
