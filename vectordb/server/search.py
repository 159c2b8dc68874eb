"""Searches. A short one runs on the event loop, a long one on a thread."""

from collections.abc import Iterator
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from vectordb import schemas
from vectordb.engine import Hit, Library
from vectordb.errors import Invalid
from vectordb.schemas import FloatArray
from vectordb.server.description import gives, takes
from vectordb.server.exchange import answer, library_of, read_body, show_hits, threads_of
from vectordb.server.libraries import Position

router = APIRouter(prefix="/v1/libraries/{library_id}", tags=["search"])

_SHORT_RESULTS = 1_000
_SHORT_RESULTS_BYTES = 1024 * 1024
"""More than that holds the event loop up while it is written as JSON."""
_BYTES_PER_NUMBER = 12


@router.post(
    "/search",
    openapi_extra=takes(schemas.SearchRequest),
    **gives(schemas.SearchResponse | schemas.BatchSearchResponse),
)
async def search(request: Request, library_id: str, min_log_position: Position = None) -> Response:
    """The k nearest chunks, best first; for `embeddings` a list each."""
    library = library_of(request)
    wanted = await read_body(request, schemas.SearchRequest)
    library.require_log_position(max(wanted.min_log_position or 0, min_log_position or 0) or None)
    is_short = library.is_short(wanted) and len(wanted.embeddings or (0,)) * wanted.k <= _SHORT_RESULTS
    found = library.search(wanted) if is_short else await threads_of(request).read(lambda: library.search(wanted))
    return await _answer_found(request, found, is_batch=wanted.embeddings is not None)


@router.post(
    "/search/hybrid",
    openapi_extra=takes(schemas.HybridSearchCall),
    **gives(schemas.SearchResponse | schemas.BatchSearchResponse),
)
async def search_hybrid(request: Request, library_id: str, min_log_position: Position = None) -> Response:
    """The best chunks by embedding and by words, joined by reciprocal rank; for `embeddings` a list each."""
    library = library_of(request)
    wanted = await read_body(request, schemas.HybridSearchCall)
    library.require_log_position(max(wanted.min_log_position or 0, min_log_position or 0) or None)
    if wanted.embeddings is not None:
        return await threads_of(request).read(lambda: answer({"results": show_hits(_search_each(library, wanted))}))
    (one,) = wanted.split()
    found = (
        library.search_hybrid(one)
        if library.is_short(one)
        else await threads_of(request).read(lambda: library.search_hybrid(one))
    )
    return await _answer_found(request, [found], is_batch=False)


@router.post("/count", openapi_extra=takes(schemas.CountRequest), **gives(schemas.CountResponse))
async def count(request: Request, library_id: str, min_log_position: Position = None) -> Response:
    """How many chunks match, exactly."""
    library = library_of(request)
    wanted = await read_body(request, schemas.CountRequest)
    library.require_log_position(max(wanted.min_log_position or 0, min_log_position or 0) or None)
    return answer({"count": await threads_of(request).read(lambda: library.count(wanted.filter))})


async def _answer_found(request: Request, found: list[list[Hit]], *, is_batch: bool) -> Response:
    def write() -> Response:
        shown = show_hits(found)
        return answer({"results": shown if is_batch else shown[0]})

    hits = [hit for hits in found for hit in hits]
    size = sum(len(hit.chunk.text) + len(hit.chunk.metadata) + _size_of(hit.chunk.embedding) for hit in hits)
    if len(hits) <= _SHORT_RESULTS and size <= _SHORT_RESULTS_BYTES:
        return write()
    return await threads_of(request).read(write)


def _size_of(embedding: FloatArray | None) -> int:
    return 0 if embedding is None else len(embedding) * _BYTES_PER_NUMBER


def _search_each(library: Library, wanted: schemas.HybridSearchCall) -> Iterator[list[Hit]]:
    for place, one in enumerate(wanted.split()):
        try:
            yield library.search_hybrid(one)
        except Invalid as exc:  # raised for a vector that does not fit: say which
            errors = [replace(error, attr=f"embeddings.{place}") for error in exc.errors]
            raise Invalid(f"embeddings.{place}: {exc.detail}", errors=errors) from exc
