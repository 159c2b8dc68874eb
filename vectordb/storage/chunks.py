"""Chunks in a library's file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import apsw
import numpy as np
import orjson

from vectordb.errors import Invalid, StorageFailed
from vectordb.schemas.arrays import FloatArray, IdArray
from vectordb.schemas.filters import Condition
from vectordb.storage.filters import compile_filter

_MAX_PAYLOAD_CHARACTERS = 64 * 1024 * 1024
_COLUMNS = """chunks.number, chunks.id, documents.id, chunks.text, chunks.metadata,
    chunks.created_at, chunks.updated_at"""
_JOINED = "chunks JOIN documents ON documents.number = chunks.document"
_BYTES_PER_COMPONENT = 4
_IN_LIST = "IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """What is stored of a chunk; `metadata` is JSON text, times are microseconds since 1970."""

    number: int
    id: str
    document_id: str
    text: str
    metadata: str
    created_at: int
    updated_at: int
    embedding: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be written under `number`, in the document numbered `document`."""

    number: int
    id: str
    document: int
    text: str
    metadata: str
    embedding: FloatArray


class ChunkRepository:
    """Reads and writes chunks."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def next_number(self) -> int:
        """Return a number above every one that was ever given."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
        return 1 if row is None else int(row[0]) + 1

    def insert(self, chunks: Sequence[NewChunk], *, now: int) -> None:
        """Add chunks whose ids and numbers are not taken."""
        self._connection.executemany(
            "INSERT INTO chunks (number, id, document, text, metadata, embedding, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (new.number, new.id, new.document, new.text, new.metadata, encode_vector(new.embedding), now, now)
                for new in chunks
            ),
        )

    def replace(self, chunks: Sequence[NewChunk], *, now: int) -> None:
        """Replace what stands under the chunks' numbers; the time of creation stays."""
        self._connection.executemany(
            "UPDATE chunks SET document = ?, text = ?, metadata = ?, embedding = ?, updated_at = ? WHERE number = ?",
            ((new.document, new.text, new.metadata, encode_vector(new.embedding), now, new.number) for new in chunks),
        )

    def find(self, id: str, *, with_embedding: bool = False) -> ChunkRow | None:
        """Return the chunk, or None."""
        found = list(self._select("chunks.id = ?", [id], with_embedding))
        return found[0] if found else None

    def find_by_numbers(self, numbers: IdArray, *, with_embedding: bool = False) -> dict[int, ChunkRow]:
        """Return those of `numbers` that are there, by number. Raises Invalid when they hold too much to be held."""
        found: dict[int, ChunkRow] = {}
        size = 0
        for row in self._select(f"chunks.number {_IN_LIST}", [_as_json(numbers)], with_embedding):
            size += len(row.text)
            if size > _MAX_PAYLOAD_CHARACTERS:
                raise Invalid("the results are too large to be read at once: ask for fewer results")
            found[row.number] = row
        return found

    def find_numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of those of `ids` that are there, by id."""
        rows = self._connection.execute(
            f"SELECT id, number FROM chunks WHERE id {_IN_LIST}",  # noqa: S608
            (orjson.dumps(list(ids)).decode(),),
        )
        return dict(rows)

    def find_documents(self, numbers: IdArray) -> dict[int, int]:
        """Return the number of the document of each of `numbers` that is there."""
        rows = self._connection.execute(
            f"SELECT number, document FROM chunks WHERE number {_IN_LIST}",  # noqa: S608
            (_as_json(numbers),),
        )
        return dict(rows)

    def list_after(
        self, number: int, limit: int, condition: Condition | None, *, with_embedding: bool = False
    ) -> list[ChunkRow]:
        """Return at most `limit` chunks that match, with a number beyond `number`, by number."""
        sql, bindings = compile_filter(condition)
        where = f"chunks.number > ? AND ({sql}) ORDER BY chunks.number LIMIT ?"
        return list(self._select(where, [number, *bindings, limit], with_embedding))

    def match(self, condition: Condition) -> IdArray:
        """Return the numbers of the chunks that match, rising."""
        sql, bindings = compile_filter(condition)
        rows = self._connection.execute(
            f"SELECT chunks.number FROM {_JOINED} WHERE {sql} ORDER BY chunks.number",  # noqa: S608
            bindings,
        )
        return np.fromiter((number for (number,) in rows), dtype=np.int64)

    def numbers_of_document(self, document: int) -> IdArray:
        """Return the numbers of a document's chunks, rising."""
        rows = self._connection.execute("SELECT number FROM chunks WHERE document = ? ORDER BY number", (document,))
        return np.fromiter((number for (number,) in rows), dtype=np.int64)

    def delete(self, numbers: IdArray) -> None:
        """Delete the chunks of these numbers."""
        self._connection.execute(
            f"DELETE FROM chunks WHERE number {_IN_LIST}",  # noqa: S608
            (_as_json(numbers),),
        )

    def count(self) -> int:
        """Return how many there are."""
        count: int = self._connection.execute("SELECT count(*) FROM chunks").get
        return count

    def read_for_indexes(self, batch_size: int, dimension: int) -> Iterator[tuple[IdArray, FloatArray, list[str]]]:
        """Yield (numbers (n,), embeddings (n, dimension), texts) of all chunks, by rising number, in batches.

        Raises StorageFailed for an embedding of another length.
        """
        cursor = self._connection.execute("SELECT number, embedding, text FROM chunks ORDER BY number")
        while rows := list(islice(cursor, batch_size)):
            for number, blob, _ in rows:
                if len(blob) != dimension * _BYTES_PER_COMPONENT:
                    raise StorageFailed(
                        f"the embedding of chunk number {number} has {len(blob)} bytes where dimension {dimension}"
                        f" takes {dimension * _BYTES_PER_COMPONENT}"
                    )
            numbers = np.array([number for number, _, _ in rows], dtype=np.int64)
            vectors = np.frombuffer(b"".join(blob for _, blob, _ in rows), dtype="<f4").reshape(len(rows), dimension)
            yield numbers, vectors, [text for _, _, text in rows]

    def _select(self, where: str, bindings: Sequence[str | int | float], with_embedding: bool) -> Iterator[ChunkRow]:
        columns = f"{_COLUMNS}, chunks.embedding" if with_embedding else _COLUMNS
        # `where` is made of this room's own text; every value is a binding.
        rows: Iterable[Any] = self._connection.execute(
            f"SELECT {columns} FROM {_JOINED} WHERE {where}",  # noqa: S608
            bindings,
        )
        for row in rows:
            if with_embedding:
                yield ChunkRow(*(*row[:-1], decode_vector(row[-1])))
            else:
                yield ChunkRow(*row)


def encode_vector(vector: FloatArray) -> bytes:
    """Return float32 (d,) as it is stored."""
    return vector.astype("<f4", copy=False).tobytes()


def decode_vector(blob: bytes) -> FloatArray:
    """Return the float32 (d,) that was stored."""
    return np.frombuffer(blob, dtype="<f4")


def _as_json(numbers: IdArray) -> str:
    return orjson.dumps(numbers.tolist()).decode()
