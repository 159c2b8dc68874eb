"""Where chunks are kept and found: the one door to the vector database, as a protocol.

Nothing else in the service imports the database's client, so that another engine can stand behind this door later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from knowledge.errors import EmbedderChanged, LibraryMissing, VectorStoreRefused, VectorStoreUnavailable
from observability import request_id
from vectordb.client import (
    Chunk,
    ChunkInput,
    Client,
    Conflict,
    NotFound,
    SearchHit,
    Unauthorized,
    Unavailable,
    VectorDBError,
)

Scalar = str | int | float | bool

# A call carries this many chunks at most, which bounds its body (a piece has about 1,000 characters).
CHUNKS_PER_CALL = 1_000
ROWS_PER_PAGE = 500
MAX_RESULTS = 1_000
MAX_SEARCH_CHARACTERS = 10_000
METADATA_FIELD = "document.metadata."
READY_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as it is written. `embedding` has shape (dimension,)."""

    id: str
    text: str
    embedding: NDArray[np.float32]
    revision: int
    position: int
    heading: str = ""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as the store knows it."""

    id: str
    name: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredText:
    """A chunk as it is read back, without its vector."""

    text: str
    revision: int
    position: int
    heading: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. `score` orders the hits, larger is better; `cosine` is nearness to the query alone."""

    chunk_id: str
    document_id: str
    revision: int
    text: str
    heading: str
    score: float
    cosine: float


class VectorStore(Protocol):
    """Keeps the chunks of documents in libraries, one dimension each, and finds them again.

    Every method raises VectorStoreUnavailable when the store does not answer; every write may be repeated.
    """

    def ensure_library(self, library_id: str, *, name: str, dimension: int) -> None:
        """Make the library unless it is there. Raises EmbedderChanged when it is there with another dimension."""
        ...

    def put_document(self, library_id: str, document_id: str, *, name: str, metadata: Mapping[str, Any]) -> None:
        """Make the document, or give it this name and this metadata."""
        ...

    def put_chunks(self, library_id: str, document_id: str, chunks: Sequence[StoredChunk]) -> bool:
        """Store the chunks, replacing those with the same ids; False when the document is not there (any more)."""
        ...

    def chunk_ids(self, library_id: str, document_id: str) -> set[str]:
        """The ids of all the chunks of a document, of whichever revision."""
        ...

    def list_libraries(self) -> Iterator[str]:
        """The ids of all libraries, also of those that are not this service's."""
        ...

    def list_documents(self, library_id: str) -> Iterator[StoredDocument]:
        """All the documents of a library. Raises LibraryMissing."""
        ...

    def count_chunks(self, library_id: str, document_id: str, revision: int) -> int:
        """How many chunks of this revision of a document there are."""
        ...

    def read_texts(self, library_id: str, document_id: str) -> list[StoredText]:
        """The texts of all the chunks of a document, of whichever revision."""
        ...

    def delete_chunks(self, library_id: str, ids: Sequence[str]) -> None:
        """Delete chunks; those that are not there are no error."""
        ...

    def delete_document(self, library_id: str, document_id: str) -> None:
        """Delete a document and all of its chunks; that it is not there is no error."""
        ...

    def delete_library(self, library_id: str) -> None:
        """Delete a library with everything in it; that it is not there is no error."""
        ...

    def hybrid_search(
        self,
        library_id: str,
        *,
        embedding: NDArray[np.float32],
        text: str,
        k: int,
        filters: Mapping[str, Scalar] | None = None,
    ) -> list[Hit]:
        """The best k chunks by meaning and words together, best first. Raises LibraryMissing.

        `filters` maps names of a document's metadata to the values that they must equal.
        """
        ...

    def is_ready(self) -> bool:
        """Whether the store answers now. Never raises, and waits for about a second at most."""
        ...


def _name_request() -> dict[str, str]:
    current = request_id.current()
    return {} if current == request_id.NONE else {request_id.HEADER: current}


class VectordbStore:
    """Our own vector database, by its HTTP client."""

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_s: float = 10.0) -> None:
        self._client = Client(base_url, api_key=api_key, timeout_s=timeout_s, make_headers=_name_request)
        self._probe = Client(base_url, api_key=api_key, timeout_s=min(timeout_s, READY_TIMEOUT_S))

    def ensure_library(self, library_id: str, *, name: str, dimension: int) -> None:
        with _translated_errors():
            try:
                library = self._client.get_library(library_id)
            except NotFound:
                try:
                    library = self._client.create_library(name=name, dimension=dimension, id=library_id)
                except Conflict:  # another worker was faster
                    library = self._client.get_library(library_id)
        if library.dimension != dimension:
            raise EmbedderChanged(
                f"The project's library holds vectors of {library.dimension} dimensions, not of {dimension}."
            )

    def put_document(self, library_id: str, document_id: str, *, name: str, metadata: Mapping[str, Any]) -> None:
        with _translated_errors():
            try:
                self._client.update_document(library_id, document_id, name=name, metadata=dict(metadata))
            except NotFound:
                self._client.create_document(library_id, name=name, id=document_id, metadata=dict(metadata))

    def put_chunks(self, library_id: str, document_id: str, chunks: Sequence[StoredChunk]) -> bool:
        inputs = [_to_input(document_id, chunk) for chunk in chunks]
        with _translated_errors():
            try:
                for start in range(0, len(inputs), CHUNKS_PER_CALL):
                    self._client.upsert_chunks(library_id, inputs[start : start + CHUNKS_PER_CALL])
            except NotFound:
                return False
        return True

    def chunk_ids(self, library_id: str, document_id: str) -> set[str]:
        with _translated_errors():
            try:
                return {chunk.id for chunk in self._client.iter_chunks(library_id, document_id=document_id)}
            except NotFound:
                return set()

    def list_libraries(self) -> Iterator[str]:
        with _translated_errors():
            for page in _read_pages(partial(self._client.list_libraries, limit=ROWS_PER_PAGE)):
                yield from (library.id for library in page.libraries)

    def list_documents(self, library_id: str) -> Iterator[StoredDocument]:
        with _translated_errors():
            try:
                for page in _read_pages(partial(self._client.list_documents, library_id, limit=ROWS_PER_PAGE)):
                    yield from (StoredDocument(each.id, each.name, each.metadata) for each in page.documents)
            except NotFound as exc:
                raise LibraryMissing("The vector database does not hold this library.") from exc

    def count_chunks(self, library_id: str, document_id: str, revision: int) -> int:
        with _translated_errors():
            try:
                return self._client.count(
                    library_id, filter={"document_id": document_id, "metadata.revision": revision}
                )
            except NotFound:
                return 0

    def read_texts(self, library_id: str, document_id: str) -> list[StoredText]:
        with _translated_errors():
            try:
                return [_to_text(chunk) for chunk in self._client.iter_chunks(library_id, document_id=document_id)]
            except NotFound:
                return []

    def delete_chunks(self, library_id: str, ids: Sequence[str]) -> None:
        with _translated_errors():
            for start in range(0, len(ids), CHUNKS_PER_CALL):
                try:
                    self._client.delete_chunks(library_id, ids=list(ids[start : start + CHUNKS_PER_CALL]))
                except NotFound:
                    return

    def delete_document(self, library_id: str, document_id: str) -> None:
        with _translated_errors():
            try:
                self._client.delete_document(library_id, document_id)
            except NotFound:
                return

    def delete_library(self, library_id: str) -> None:
        with _translated_errors(), suppress(NotFound):
            self._client.delete_library(library_id)

    def hybrid_search(
        self,
        library_id: str,
        *,
        embedding: NDArray[np.float32],
        text: str,
        k: int,
        filters: Mapping[str, Scalar] | None = None,
    ) -> list[Hit]:
        if not _can_match(filters or {}):
            return []
        with _translated_errors():
            try:
                found = self._client.hybrid_search(
                    library_id,
                    embedding=embedding,
                    text=text[:MAX_SEARCH_CHARACTERS],
                    k=min(k, MAX_RESULTS),
                    filter={METADATA_FIELD + name: value for name, value in (filters or {}).items()} or None,
                    include=("scores",),
                )
            except NotFound as exc:
                raise LibraryMissing("The vector database does not hold this project's library.") from exc
        return [_to_hit(hit) for hit in found.results]

    def is_ready(self) -> bool:
        try:
            self._probe.list_libraries(limit=1)
        except VectorDBError:
            return False
        return True


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except Unavailable as exc:
        raise VectorStoreUnavailable(
            "The vector database does not answer.", retry_after_s=max(1, exc.retry_after_s)
        ) from exc
    except Unauthorized as exc:
        raise VectorStoreUnavailable(
            "The vector database does not accept this service's key.", retry_after_s=60
        ) from exc
    except VectorDBError as exc:
        raise VectorStoreRefused(_describe(exc)) from exc


class _Page(Protocol):
    @property
    def next_cursor(self) -> str | None: ...


P = TypeVar("P", bound=_Page)


def _read_pages(read: Callable[..., P]) -> Iterator[P]:
    """Yield all the pages of a list, each by the cursor of the one before."""
    page = read(cursor=None)
    yield page
    while page.next_cursor is not None:
        page = read(cursor=page.next_cursor)
        yield page


def _describe(refusal: VectorDBError) -> str:
    """What was refused, without the words of any document: the way to the field and the kind of fault."""
    fields = ", ".join(f"{error.attr}: {error.code}" for error in refusal.errors[:5])
    return f"The vector database refuses a request ({fields or refusal.title})."


def _can_match(filters: Mapping[str, Scalar]) -> bool:
    """Whether any document's metadata could have these values: names are not empty, integers have 64 bits."""
    return all(
        name and not (isinstance(value, int) and not -(2**63) <= value < 2**63) for name, value in filters.items()
    )


def _to_input(document_id: str, chunk: StoredChunk) -> ChunkInput:
    return ChunkInput(
        id=chunk.id,
        document_id=document_id,
        text=chunk.text,
        embedding=chunk.embedding,
        metadata={"revision": chunk.revision, "position": chunk.position, "heading": chunk.heading},
    )


def _to_text(chunk: Chunk) -> StoredText:
    metadata = chunk.metadata
    return StoredText(
        text=chunk.text,
        revision=int(metadata.get("revision", 0)),
        position=int(metadata.get("position", 0)),
        heading=str(metadata.get("heading", "")),
    )


def _to_hit(hit: SearchHit) -> Hit:
    metadata = hit.chunk.metadata
    return Hit(
        chunk_id=hit.chunk.id,
        document_id=hit.chunk.document_id,
        revision=int(metadata.get("revision", 0)),
        text=hit.chunk.text,
        heading=str(metadata.get("heading", "")),
        score=hit.score,
        cosine=hit.scores.vector if hit.scores is not None and hit.scores.vector is not None else -1.0,
    )
