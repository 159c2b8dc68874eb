"""The sync client, one method a call."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar, overload
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import ArrayLike
from pydantic import BaseModel, ValidationError

from vectordb.client.transport import Parameters, Transport
from vectordb.errors import Invalid, Unavailable
from vectordb.schemas import (
    BatchSearchResponse,
    Chunk,
    ChunkInput,
    ChunkPage,
    CountResponse,
    DeleteResult,
    Document,
    DocumentPage,
    IndexStatus,
    Library,
    LibraryPage,
    Metric,
    SearchResponse,
    UpsertResult,
)
from vectordb.schemas.arrays import encode_embedding

M = TypeVar("M", bound=BaseModel)
Filter = Mapping[str, Any]


class Client:
    """A client of one vector database. Thread-safe; connections are kept and reused.

    Every method raises `Unavailable` when the database cannot be reached, does not answer in time or answers 5xx;
    `Unauthorized`, `NotFound`, `Conflict` and `Invalid` as the database says. A write that ended in `Unavailable` may
    have been carried out; upserts and deletions can be repeated safely. `timeout_s` bounds each call as a whole.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_s: float = 10.0) -> None:
        self._transport = Transport(base_url, api_key=api_key, timeout_s=timeout_s)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def is_ready(self) -> bool:
        """Return whether the database answers that it is ready; False when it cannot be reached."""
        try:
            self._transport.read("GET", "/readyz")
        except Unavailable:
            return False
        return True

    # Libraries

    def create_library(
        self,
        *,
        name: str,
        dimension: int,
        metric: Metric = "cosine",
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        index: Mapping[str, Any] | None = None,
    ) -> Library:
        """Make a library. Raises Conflict when its id or name is taken."""
        body = {"name": name, "dimension": dimension, "metric": metric, "id": id, "metadata": metadata, "index": index}
        return _read(Library, self._transport.write("POST", "/v1/libraries", content=_write(body)))

    def get_library(self, library_id: str) -> Library:
        """Return a library with its stats. Raises NotFound."""
        return _read(Library, self._transport.read("GET", _path(library_id)))

    def list_libraries(self, *, limit: int = 100, cursor: str | None = None) -> LibraryPage:
        """Return one page of libraries, by id."""
        return _read(LibraryPage, self._transport.read("GET", "/v1/libraries", parameters=_page(limit, cursor)))

    def update_library(
        self, library_id: str, *, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Library:
        """Change name or metadata. Raises NotFound, Conflict."""
        body = _write({"name": name, "metadata": metadata})
        return _read(Library, self._transport.write("PATCH", _path(library_id), content=body))

    def delete_library(self, library_id: str) -> None:
        """Delete a library and everything in it. Raises NotFound."""
        self._transport.write("DELETE", _path(library_id))

    def build_index(self, library_id: str, *, type: str = "flat", **parameters: Any) -> IndexStatus:
        """Build or rebuild the index. Raises Invalid for a type that is not served."""
        body = _write({"type": type, **parameters})
        return _read(IndexStatus, self._transport.write("POST", _path(library_id, "index"), content=body))

    def get_index(self, library_id: str) -> IndexStatus:
        """Return how far the index is."""
        return _read(IndexStatus, self._transport.read("GET", _path(library_id, "index")))

    # Documents

    def create_document(
        self, library_id: str, *, name: str, id: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Document:
        """Add a document. Raises NotFound, Conflict when its id is taken."""
        body = _write({"name": name, "id": id, "metadata": metadata})
        return _read(Document, self._transport.write("POST", _path(library_id, "documents"), content=body))

    def get_document(self, library_id: str, document_id: str) -> Document:
        """Return a document. Raises NotFound."""
        return _read(Document, self._transport.read("GET", _path(library_id, "documents", document_id)))

    def list_documents(self, library_id: str, *, limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """Return one page of documents, oldest first."""
        path = _path(library_id, "documents")
        return _read(DocumentPage, self._transport.read("GET", path, parameters=_page(limit, cursor)))

    def update_document(
        self,
        library_id: str,
        document_id: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Document:
        """Change name or metadata. Raises NotFound."""
        path, body = _path(library_id, "documents", document_id), _write({"name": name, "metadata": metadata})
        return _read(Document, self._transport.write("PATCH", path, content=body))

    def delete_document(self, library_id: str, document_id: str) -> None:
        """Delete a document and its chunks. Raises NotFound."""
        self._transport.write("DELETE", _path(library_id, "documents", document_id))

    # Chunks

    def upsert_chunks(self, library_id: str, chunks: Sequence[ChunkInput]) -> UpsertResult:
        """Add or replace up to 10,000 chunks by id, all or nothing.

        Raises NotFound for an unknown library or document, Invalid for a wrong dimension or a zero vector.
        """
        body = {
            "chunks": [
                {
                    **({} if chunk.id is None else {"id": chunk.id}),
                    "document_id": chunk.document_id,
                    "text": chunk.text,
                    "embedding": encode_embedding(chunk.embedding),
                    "metadata": chunk.metadata,
                }
                for chunk in chunks
            ]
        }
        return _read(UpsertResult, self._transport.write("POST", _path(library_id, "chunks"), content=_write(body)))

    def get_chunk(self, library_id: str, chunk_id: str, *, include_embedding: bool = False) -> Chunk:
        """Return a chunk. Raises NotFound."""
        parameters = {"include": "embedding"} if include_embedding else {}
        content = self._transport.read("GET", _path(library_id, "chunks", chunk_id), parameters=parameters)
        return _read(Chunk, content)

    def list_chunks(
        self,
        library_id: str,
        *,
        limit: int = 100,
        cursor: str | None = None,
        document_id: str | None = None,
        filter: Filter | None = None,
        include_embedding: bool = False,
    ) -> ChunkPage:
        """Return one page of chunks, oldest first."""
        parameters: dict[str, str | int | bool] = dict(_page(limit, cursor))
        if document_id is not None:
            parameters["document_id"] = document_id
        if filter is not None:
            parameters["filter"] = _dump(filter).decode()
        if include_embedding:
            parameters["include"] = "embedding"
        return _read(ChunkPage, self._transport.read("GET", _path(library_id, "chunks"), parameters=parameters))

    def iter_chunks(
        self,
        library_id: str,
        *,
        document_id: str | None = None,
        filter: Filter | None = None,
        include_embedding: bool = False,
        page_size: int = 500,
    ) -> Iterator[Chunk]:
        """Yield all chunks that match, oldest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.list_chunks(
                library_id,
                limit=page_size,
                cursor=cursor,
                document_id=document_id,
                filter=filter,
                include_embedding=include_embedding,
            )
            yield from page.chunks
            cursor = page.next_cursor
            if cursor is None:
                return

    def update_chunk(
        self,
        library_id: str,
        chunk_id: str,
        *,
        document_id: str | None = None,
        text: str | None = None,
        embedding: ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Chunk:
        """Change parts of a chunk. Raises NotFound, Invalid."""
        body: dict[str, Any] = {"document_id": document_id, "text": text, "metadata": metadata}
        if embedding is not None:
            body["embedding"] = _encode(embedding)
        path = _path(library_id, "chunks", chunk_id)
        return _read(Chunk, self._transport.write("PATCH", path, content=_write(body)))

    def delete_chunk(self, library_id: str, chunk_id: str) -> None:
        """Delete a chunk. Raises NotFound."""
        self._transport.write("DELETE", _path(library_id, "chunks", chunk_id))

    def delete_chunks(
        self, library_id: str, *, ids: Sequence[str] | None = None, filter: Filter | None = None
    ) -> DeleteResult:
        """Delete chunks by ids or by filter; ids that are not there are passed over."""
        body = {"ids": None if ids is None else list(ids), "filter": filter}
        return _read(
            DeleteResult, self._transport.write("POST", _path(library_id, "chunks", "delete"), content=_write(body))
        )

    # Searches

    @overload
    def search(
        self,
        library_id: str,
        *,
        embedding: ArrayLike,
        k: int = 10,
        filter: Filter | None = None,
        score_threshold: float | None = None,
        exact: bool = False,
        include: Sequence[Literal["embedding"]] = (),
        group_by: Literal["document_id"] | None = None,
        min_log_position: int | None = None,
    ) -> SearchResponse: ...

    @overload
    def search(
        self,
        library_id: str,
        *,
        embeddings: Sequence[ArrayLike],
        k: int = 10,
        filter: Filter | None = None,
        score_threshold: float | None = None,
        exact: bool = False,
        include: Sequence[Literal["embedding"]] = (),
        group_by: Literal["document_id"] | None = None,
        min_log_position: int | None = None,
    ) -> BatchSearchResponse: ...

    def search(
        self,
        library_id: str,
        *,
        embedding: ArrayLike | None = None,
        embeddings: Sequence[ArrayLike] | None = None,
        k: int = 10,
        filter: Filter | None = None,
        score_threshold: float | None = None,
        exact: bool = False,
        include: Sequence[Literal["embedding"]] = (),
        group_by: Literal["document_id"] | None = None,
        min_log_position: int | None = None,
    ) -> SearchResponse | BatchSearchResponse:
        """Return the k nearest chunks of `embedding`, best first, or of each of `embeddings`."""
        body: dict[str, Any] = {
            **_embeddings(embedding, embeddings),
            **_options(k, filter, score_threshold, exact, include, group_by, min_log_position),
        }
        content = self._transport.read("POST", _path(library_id, "search"), content=_write(body))
        if embeddings is not None:
            return _read(BatchSearchResponse, content)
        return _read(SearchResponse, content)

    @overload
    def hybrid_search(
        self,
        library_id: str,
        *,
        embedding: ArrayLike,
        text: str,
        k: int = 10,
        filter: Filter | None = None,
        score_threshold: float | None = None,
        exact: bool = False,
        include: Sequence[Literal["embedding", "scores"]] = (),
        group_by: Literal["document_id"] | None = None,
        min_log_position: int | None = None,
    ) -> SearchResponse: ...

    @overload
    def hybrid_search(
        self,
        library_id: str,
        *,
        embeddings: Sequence[ArrayLike],
        text: str,
        k: int = 10,
        filter: Filter | None = None,
        score_threshold: float | None = None,
        exact: bool = False,
        include: Sequence[Literal["embedding", "scores"]] = (),
        group_by: Literal["document_id"] | None = None,
        min_log_position: int | None = None,
    ) -> BatchSearchResponse: ...

    def hybrid_search(
        self,
        library_id: str,
        *,
        embedding: ArrayLike | None = None,
        embeddings: Sequence[ArrayLike] | None = None,
        text: str,
        k: int = 10,
        filter: Filter | None = None,
        score_threshold: float | None = None,
        exact: bool = False,
        include: Sequence[Literal["embedding", "scores"]] = (),
        group_by: Literal["document_id"] | None = None,
        min_log_position: int | None = None,
    ) -> SearchResponse | BatchSearchResponse:
        """Return the best chunks by embedding and by words; include "scores" to be told both scores of each.

        For `embeddings`, a list each: every one of them joined with the same words.
        """
        body: dict[str, Any] = {
            **_embeddings(embedding, embeddings),
            "text": text,
            **_options(k, filter, score_threshold, exact, include, group_by, min_log_position),
        }
        content = self._transport.read("POST", _path(library_id, "search", "hybrid"), content=_write(body))
        if embeddings is not None:
            return _read(BatchSearchResponse, content)
        return _read(SearchResponse, content)

    def count(self, library_id: str, *, filter: Filter | None = None) -> int:
        """Return how many chunks match."""
        content = self._transport.read("POST", _path(library_id, "count"), content=_write({"filter": filter}))
        return _read(CountResponse, content).count


def _path(library_id: str, *parts: str) -> str:
    segments = [quote(part, safe="") for part in (library_id, *parts)]
    if "" in segments:
        raise Invalid("an id is empty")
    # "." and ".." are ids too; written plainly, they would be taken for ways up.
    return "/v1/libraries/" + "/".join(part.replace(".", "%2E") if part.strip(".") == "" else part for part in segments)


def _page(limit: int, cursor: str | None) -> Parameters:
    return {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}


def _options(
    k: int,
    filter: Filter | None,
    score_threshold: float | None,
    exact: bool,
    include: Sequence[str],
    group_by: str | None,
    min_log_position: int | None,
) -> dict[str, Any]:
    return {
        "k": k,
        "filter": filter,
        "score_threshold": score_threshold,
        "exact": exact,
        "include": list(include),
        "group_by": group_by,
        "min_log_position": min_log_position,
    }


def _embeddings(embedding: ArrayLike | None, embeddings: Sequence[ArrayLike] | None) -> dict[str, Any]:
    if (embedding is None) == (embeddings is None):
        raise Invalid("exactly one of embedding and embeddings")
    if embeddings is not None:
        return {"embeddings": [_encode(one) for one in embeddings]}
    return {} if embedding is None else {"embedding": _encode(embedding)}


def _encode(embedding: ArrayLike) -> str:
    try:
        row = np.asarray(embedding, dtype=np.float32)
    except (TypeError, ValueError) as exc:
        raise Invalid(f"the embedding is no row of numbers: {exc}") from exc
    if row.ndim != 1:
        raise Invalid(f"the embedding has {row.ndim} dimensions where one row is expected")
    return encode_embedding(row)


def _write(body: Mapping[str, Any]) -> bytes:
    return _dump({name: value for name, value in body.items() if value is not None})


def _dump(value: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as exc:
        raise Invalid(f"the request cannot be written as JSON: {exc}") from exc


def _read(model: type[M], content: bytes) -> M:
    try:
        return model.model_validate_json(content)
    except ValidationError as exc:
        raise Unavailable(f"the vector database's answer is no {model.__name__}") from exc
