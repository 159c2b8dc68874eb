"""Searches. A short one runs on the event loop, a long one on a thread."""

from fastapi import APIRouter, Request, Response

from vectordb import schemas
from vectordb.server.description import gives, takes
from vectordb.server.exchange import answer, library_of, read_body, run, show_hit
from vectordb.server.libraries import Position

router = APIRouter(prefix="/v1/libraries/{library_id}", tags=["search"])


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
    found = library.search(wanted) if library.is_short(wanted) else await run(lambda: library.search(wanted))
    shown = [[show_hit(hit) for hit in hits] for hits in found]
    return answer({"results": shown[0] if wanted.embeddings is None else shown})


@router.post("/search/hybrid", openapi_extra=takes(schemas.HybridSearchRequest), **gives(schemas.SearchResponse))
async def search_hybrid(request: Request, library_id: str, min_log_position: Position = None) -> Response:
    """The best chunks by embedding and by words, joined by reciprocal rank."""
    library = library_of(request)
    wanted = await read_body(request, schemas.HybridSearchRequest)
    library.require_log_position(max(wanted.min_log_position or 0, min_log_position or 0) or None)
    if library.is_short(wanted):
        found = library.search_hybrid(wanted)
    else:
        found = await run(lambda: library.search_hybrid(wanted))
    return answer({"results": [show_hit(hit) for hit in found]})


@router.post("/count", openapi_extra=takes(schemas.CountRequest), **gives(schemas.CountResponse))
async def count(request: Request, library_id: str, min_log_position: Position = None) -> Response:
    """How many chunks match, exactly."""
    library = library_of(request)
    wanted = await read_body(request, schemas.CountRequest)
    library.require_log_position(max(wanted.min_log_position or 0, min_log_position or 0) or None)
    return answer({"count": await run(lambda: library.count(wanted.filter))})
