"""One library: every call on it that is not about other libraries."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import orjson

from vectordb.engine import write_jobs
from vectordb.engine.indexes import LibraryIndexes
from vectordb.engine.observing import Observer
from vectordb.engine.results import Hit
from vectordb.engine.searching import Searcher
from vectordb.engine.sizes import measure_bytes
from vectordb.engine.write_jobs import Upserted
from vectordb.engine.writer import Job, LibraryWriter, WriteSession, Written
from vectordb.errors import FieldError, Invalid, NotFound, Unavailable, VectorDBError
from vectordb.schemas import (
    ChunkInput,
    ChunkUpdate,
    Condition,
    DocumentCreate,
    DocumentUpdate,
    FloatArray,
    HybridSearchRequest,
    LibraryCopy,
    LibraryUpdate,
    SearchRequest,
)
from vectordb.storage import ChunkRow, DocumentRow, LibraryFile, LibraryRow, ReaderPool, write_copy
from vectordb.storage.folder import measure_folder

T = TypeVar("T")

_BUILD_BATCH_SIZE = 5_000
_SHORT_SEARCH_NUMBERS = 4_000_000
"""A search that multiplies fewer numbers than this (10,000 rows of 384) takes about a millisecond."""
_SHORT_FILTER_CHUNKS = 2_000


@dataclass(frozen=True, slots=True)
class Stats:
    """A library's size at one moment."""

    documents: int
    chunks: int
    bytes_on_disk: int
    bytes_in_memory: int
    log_position: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class Load:
    """What a library holds, and what waits for its writer, at one moment."""

    chunks: int
    bytes_on_disk: int
    bytes_in_memory: int
    writes_waiting: int
    bytes_waiting: int


class Library:
    """A library that is open. Reads may come from any thread; writes answer with a future, see `LibraryWriter`."""

    def __init__(self, folder: Path, *, max_queued_bytes: int, observer: Observer, vfs: str | None = None) -> None:
        """Open the library in `folder` and build its indexes from the record. Raises StorageFailed.

        Writes that wait may keep `max_queued_bytes` of memory together.
        """
        self.folder = folder
        self._readers = ReaderPool(folder, vfs=vfs)
        try:
            with self._readers.reader() as file:
                self._row = file.library.read()
                self._indexes = LibraryIndexes(self._row.dimension, self._row.metric)
                self._indexes.build(file.chunks.read_for_indexes(_BUILD_BATCH_SIZE, self._row.dimension))
            self._searcher = Searcher(self._indexes, self._readers, observer)
            self._writer = LibraryWriter(
                LibraryFile.open(folder, vfs=vfs),
                self._indexes.apply,
                name=self._row.id,
                max_queued_bytes=max_queued_bytes,
                observer=observer,
            )
        except BaseException:
            self._readers.close()
            raise

    @property
    def row(self) -> LibraryRow:
        """What the library is."""
        return self._row

    @property
    def is_read_only(self) -> bool:
        """Whether storage failed, so that writes are refused."""
        return self._writer.is_read_only

    def close(self) -> None:
        """Finish the writes that are queued and close the file."""
        self._writer.close()
        self._readers.close()

    def retire(self) -> None:
        """Answer every call with NotFound from now on: the folder is about to be taken away."""
        self._refuse(lambda: NotFound(f'there is no library "{self._row.id}"'))

    def supersede(self) -> None:
        """Answer every call with Unavailable from now on: another library bears the id, and may be asked at once."""
        self._refuse(lambda: Unavailable(f'library "{self._row.id}" has just been restored; ask again'))

    def readmit(self) -> None:
        """Take calls again: the folder could not be taken away."""
        self._refuse(None)

    def discard(self) -> None:
        """Close a library that takes no calls: writes that are queued are refused, the log is left as it is."""
        self._writer.close(discard=True)
        self._readers.close(discard=True)

    def _refuse(self, make_refusal: Callable[[], VectorDBError] | None) -> None:
        self._readers.refuse(make_refusal)
        self._writer.refuse(make_refusal)

    def pause_writes(self) -> int:
        """Turn writes away, wait for those that are queued, and return the log position of the last one."""
        self._writer.refuse(lambda: Unavailable(f'library "{self._row.id}" is being restored; try again'))
        self._writer.drain()
        return self._read_log_position()

    def resume_writes(self) -> None:
        """Take writes again after `pause_writes`."""
        self._writer.refuse(None)

    def stop_writes(self) -> None:
        """Take no more writes until a restart: which record will count then is unknown."""
        self._writer.fail()

    def continue_log(self, position: int) -> "Future[Written[None]]":
        """Let the log go on beyond `position`, as a write of its own."""
        return self._writer.submit(lambda session: session.file.library.raise_log_position(position))

    def copy_to(self, target: Path) -> LibraryCopy:
        """Copy the library as it is at one moment; reads and writes go on. Raises like `write_copy`, and NotFound."""
        with self._writer.log_left_alone(), self._readers.reader() as file:
            return write_copy(file, target)

    def read_stats(self) -> Stats:
        """Return the library's size. Raises NotFound when it is being deleted."""
        with self._readers.reader() as file:
            documents, position = file.documents.count(), file.library.read_log_position()
            bytes_on_disk = measure_folder(self.folder)
        return Stats(
            documents=documents,
            chunks=len(self._indexes.vectors),
            bytes_on_disk=bytes_on_disk,
            bytes_in_memory=self._indexes.memory_bytes(),
            log_position=position,
            read_only=self._writer.is_read_only,
        )

    def measure_load(self) -> Load:
        """Return what operators watch, without asking the file for anything. Raises StorageFailed when it is gone."""
        writes, size_bytes = self._writer.queued
        return Load(
            chunks=len(self._indexes.vectors),
            bytes_on_disk=measure_folder(self.folder),
            bytes_in_memory=self._indexes.memory_bytes(),
            writes_waiting=writes,
            bytes_waiting=size_bytes,
        )

    def require_log_position(self, position: int | None) -> None:
        """Raise Unavailable when the library is not as far as `position`."""
        if position is None:
            return
        reached = self._read_log_position()
        if reached < position:
            raise Unavailable(f"this node is at log position {reached}, before {position}")

    def _read_log_position(self) -> int:
        with self._readers.reader() as file:
            return file.library.read_log_position()

    # Writes

    def update(self, request: LibraryUpdate) -> "Future[Written[LibraryRow]]":
        """Change name or metadata; `Database` has seen to it that the name is free."""

        def job(session: WriteSession) -> LibraryRow:
            row = session.file.library.read()
            session.file.library.update(
                name=row.name if request.name is None else request.name,
                metadata=row.metadata if request.metadata is None else orjson.dumps(request.metadata).decode(),
                now=session.now,
            )
            session.erases = True
            return session.file.library.read()

        return self._submit(job, request)

    def adopt(self, row: LibraryRow) -> None:
        """Take `row`, which is committed, for what the library is."""
        self._row = row

    def create_document(self, request: DocumentCreate) -> "Future[Written[DocumentRow]]":
        """Add a document. Raises Conflict when its id is taken."""
        return self._submit(lambda session: write_jobs.create_document(session, request), request)

    def update_document(self, document_id: str, request: DocumentUpdate) -> "Future[Written[DocumentRow]]":
        """Change a document. Raises NotFound."""
        return self._submit(lambda session: write_jobs.update_document(session, document_id, request), request)

    def delete_document(self, document_id: str) -> "Future[Written[None]]":
        """Delete a document and its chunks. Raises NotFound."""
        return self._submit(lambda session: write_jobs.delete_document(session, document_id), document_id)

    def upsert_chunks(self, chunks: Sequence[ChunkInput]) -> "Future[Written[Upserted]]":
        """Add or replace chunks, all or nothing. Raises Invalid at once, NotFound for an unknown document."""
        for place, chunk in enumerate(chunks):
            self._check_vector(chunk.embedding, f"chunks.{place}.embedding")
        return self._submit(lambda session: write_jobs.upsert_chunks(session, chunks), chunks)

    def update_chunk(self, chunk_id: str, request: ChunkUpdate) -> "Future[Written[ChunkRow]]":
        """Change parts of a chunk. Raises Invalid at once, NotFound."""
        if request.embedding is not None:
            self._check_vector(request.embedding, "embedding")
        return self._submit(lambda session: write_jobs.update_chunk(session, chunk_id, request), request)

    def delete_chunk(self, chunk_id: str) -> "Future[Written[None]]":
        """Delete a chunk. Raises NotFound."""
        return self._submit(lambda session: write_jobs.delete_chunk(session, chunk_id), chunk_id)

    def delete_chunks(self, ids: Sequence[str] | None, condition: Condition | None) -> "Future[Written[int]]":
        """Delete chunks by ids, or else by filter; the future's value is how many."""
        if ids is not None:
            return self._submit(lambda session: write_jobs.delete_chunks_by_ids(session, ids), ids)
        if condition is None:
            raise Invalid("neither ids nor a filter with a condition")
        return self._submit(lambda session: write_jobs.delete_chunks_by_filter(session, condition), condition)

    def _submit(self, job: Job[T], request: object) -> "Future[Written[T]]":
        return self._writer.submit(job, size_bytes=measure_bytes(request))

    # Reads

    def get_document(self, document_id: str) -> DocumentRow:
        """Return a document. Raises NotFound."""
        with self._readers.reader() as file:
            row = file.documents.find(document_id)
        if row is None:
            raise NotFound(f'there is no document "{document_id}"')
        return row

    def list_documents(self, after: int, limit: int) -> list[DocumentRow]:
        """Return at most `limit` documents with a number beyond `after`, oldest first."""
        with self._readers.reader() as file:
            return file.documents.list_after(after, limit)

    def get_chunk(self, chunk_id: str, *, with_embedding: bool) -> ChunkRow:
        """Return a chunk. Raises NotFound."""
        with self._readers.reader() as file:
            row = file.chunks.find(chunk_id, with_embedding=with_embedding)
        if row is None:
            raise NotFound(f'there is no chunk "{chunk_id}"')
        return row

    def list_chunks(
        self, after: int, limit: int, condition: Condition | None, *, with_embedding: bool
    ) -> list[ChunkRow]:
        """Return at most `limit` chunks that match, with a number beyond `after`, oldest first."""
        with self._readers.reader() as file:
            return file.chunks.list_after(after, limit, condition, with_embedding=with_embedding)

    def count(self, condition: Condition | None) -> int:
        """Return how many chunks match."""
        with self._readers.reader() as file:
            return file.chunks.count() if condition is None else len(file.chunks.match(condition))

    def search(self, request: SearchRequest) -> list[list[Hit]]:
        """Return the hits of each query, best first. Raises Invalid for a vector that does not fit."""
        if request.embeddings is not None:
            named = [(f"embeddings.{place}", vector) for place, vector in enumerate(request.embeddings)]
        else:
            named = [("embedding", vector) for vector in (request.embedding,) if vector is not None]
        for attr, vector in named:
            self._check_vector(vector, attr)
        return self._searcher.search(np.stack([vector for _, vector in named]), request)

    def search_hybrid(self, request: HybridSearchRequest) -> list[Hit]:
        """Return the hits of embedding and words together, best first. Raises Invalid like `search`."""
        self._check_vector(request.embedding, "embedding")
        return self._searcher.search_hybrid(request.embedding, request)

    def is_short(self, request: SearchRequest | HybridSearchRequest) -> bool:
        """Whether the search is so small that changing threads for it would cost more than it does."""
        chunks = len(self._indexes.vectors)
        if request.filter is not None or request.group_by is not None:
            return chunks <= _SHORT_FILTER_CHUNKS
        queries = len(request.embeddings or ()) if isinstance(request, SearchRequest) else 1
        return max(queries, 1) * chunks * self._row.dimension <= _SHORT_SEARCH_NUMBERS

    def _check_vector(self, vector: FloatArray, attr: str) -> None:
        if len(vector) != self._row.dimension:
            detail = f"has {len(vector)} numbers where the library's dimension is {self._row.dimension}"
            raise Invalid(f"{attr} {detail}", errors=[FieldError("dimension", detail, attr)])
        if self._row.metric == "cosine" and not vector.any():
            detail = "is a zero vector, which has no direction under cosine"
            raise Invalid(f"{attr} {detail}", errors=[FieldError("zero_vector", detail, attr)])
