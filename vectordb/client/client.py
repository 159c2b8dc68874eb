"""The sync client, one method a call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, overload

from numpy.typing import ArrayLike

from vectordb.client.snapshots import SnapshotCalls
from vectordb.client.transport import Transport
from vectordb.client.wire import (
    Filter,
    dump_json,
    encode_embeddings,
    encode_row,
    make_page_parameters,
    make_path,
    make_search_options,
    read_answer,
    write_body,
)
from vectordb.errors import Unavailable
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


class Client:
    """A client of one vector database. Thread-safe; connections are kept and reused.

    Every method raises `Unavailable` when the database cannot be reached, does not answer in time or answers 5xx;
    `Unauthorized`, `NotFound`, `Conflict` and `Invalid` as the database says. A write that ended in `Unavailable` may
    have been carried out; upserts and deletions can be repeated safely. `timeout_s` bounds each call as a whole.
    `make_headers` is asked for more headers of each call, such as `X-Request-ID`, which the database's log then names.
    The calls on snapshots are those of `snapshots`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        make_headers: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self._transport = Transport(base_url, api_key=api_key, timeout_s=timeout_s, make_headers=make_headers)
        self.snapshots = SnapshotCalls(self._transport)

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
        return read_answer(Library, self._transport.write("POST", "/v1/libraries", content=write_body(body)))

    def get_library(self, library_id: str) -> Library:
        """Return a library with its stats. Raises NotFound."""
        return read_answer(Library, self._transport.read("GET", make_path(library_id)))

    def list_libraries(self, *, limit: int = 100, cursor: str | None = None) -> LibraryPage:
        """Return one page of libraries, by id."""
        return read_answer(
            LibraryPage, self._transport.read("GET", "/v1/libraries", parameters=make_page_parameters(limit, cursor))
        )

    def update_library(
        self, library_id: str, *, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Library:
        """Change name or metadata. Raises NotFound, Conflict."""
        body = write_body({"name": name, "metadata": metadata})
        return read_answer(Library, self._transport.write("PATCH", make_path(library_id), content=body))

    def delete_library(self, library_id: str) -> None:
        """Delete a library and everything in it. Raises NotFound."""
        self._transport.write("DELETE", make_path(library_id))

    def build_index(self, library_id: str, *, type: str = "flat", **parameters: Any) -> IndexStatus:
        """Build or rebuild the index. Raises Invalid for a type that is not served."""
        body = write_body({"type": type, **parameters})
        return read_answer(IndexStatus, self._transport.write("POST", make_path(library_id, "index"), content=body))

    def get_index(self, library_id: str) -> IndexStatus:
        """Return how far the index is."""
        return read_answer(IndexStatus, self._transport.read("GET", make_path(library_id, "index")))

    # Documents

    def create_document(
        self, library_id: str, *, name: str, id: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Document:
        """Add a document. Raises NotFound, Conflict when its id is taken."""
        body = write_body({"name": name, "id": id, "metadata": metadata})
        return read_answer(Document, self._transport.write("POST", make_path(library_id, "documents"), content=body))

    def get_document(self, library_id: str, document_id: str) -> Document:
        """Return a document. Raises NotFound."""
        return read_answer(Document, self._transport.read("GET", make_path(library_id, "documents", document_id)))

    def list_documents(self, library_id: str, *, limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """Return one page of documents, oldest first."""
        path = make_path(library_id, "documents")
        return read_answer(
            DocumentPage, self._transport.read("GET", path, parameters=make_page_parameters(limit, cursor))
        )

    def update_document(
        self,
        library_id: str,
        document_id: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Document:
        """Change name or metadata. Raises NotFound."""
        path, body = make_path(library_id, "documents", document_id), write_body({"name": name, "metadata": metadata})
        return read_answer(Document, self._transport.write("PATCH", path, content=body))

    def delete_document(self, library_id: str, document_id: str) -> None:
        """Delete a document and its chunks. Raises NotFound."""
        self._transport.write("DELETE", make_path(library_id, "documents", document_id))

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
        return read_answer(
            UpsertResult, self._transport.write("POST", make_path(library_id, "chunks"), content=write_body(body))
        )

    def get_chunk(self, library_id: str, chunk_id: str, *, include_embedding: bool = False) -> Chunk:
        """Return a chunk. Raises NotFound."""
        parameters = {"include": "embedding"} if include_embedding else {}
        content = self._transport.read("GET", make_path(library_id, "chunks", chunk_id), parameters=parameters)
        return read_answer(Chunk, content)

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
        parameters: dict[str, str | int | bool] = dict(make_page_parameters(limit, cursor))
        if document_id is not None:
            parameters["document_id"] = document_id
        if filter is not None:
            parameters["filter"] = dump_json(filter).decode()
        if include_embedding:
            parameters["include"] = "embedding"
        return read_answer(
            ChunkPage, self._transport.read("GET", make_path(library_id, "chunks"), parameters=parameters)
        )

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
            body["embedding"] = encode_row(embedding)
        path = make_path(library_id, "chunks", chunk_id)
        return read_answer(Chunk, self._transport.write("PATCH", path, content=write_body(body)))

    def delete_chunk(self, library_id: str, chunk_id: str) -> None:
        """Delete a chunk. Raises NotFound."""
        self._transport.write("DELETE", make_path(library_id, "chunks", chunk_id))

    def delete_chunks(
        self, library_id: str, *, ids: Sequence[str] | None = None, filter: Filter | None = None
    ) -> DeleteResult:
        """Delete chunks by ids or by filter; ids that are not there are passed over."""
        body = {"ids": None if ids is None else list(ids), "filter": filter}
        return read_answer(
            DeleteResult,
            self._transport.write("POST", make_path(library_id, "chunks", "delete"), content=write_body(body)),
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
            **encode_embeddings(embedding, embeddings),
            **make_search_options(k, filter, score_threshold, exact, include, group_by, min_log_position),
        }
        content = self._transport.read("POST", make_path(library_id, "search"), content=write_body(body))
        if embeddings is not None:
            return read_answer(BatchSearchResponse, content)
        return read_answer(SearchResponse, content)

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
            **encode_embeddings(embedding, embeddings),
            "text": text,
            **make_search_options(k, filter, score_threshold, exact, include, group_by, min_log_position),
        }
        content = self._transport.read("POST", make_path(library_id, "search", "hybrid"), content=write_body(body))
        if embeddings is not None:
            return read_answer(BatchSearchResponse, content)
        return read_answer(SearchResponse, content)

    def count(self, library_id: str, *, filter: Filter | None = None) -> int:
        """Return how many chunks match."""
        content = self._transport.read("POST", make_path(library_id, "count"), content=write_body({"filter": filter}))
        return read_answer(CountResponse, content).count
