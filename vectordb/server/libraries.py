"""Calls on libraries and their index."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from vectordb import schemas
from vectordb.server.description import gives, takes
from vectordb.server.exchange import (
    answer,
    answer_nothing,
    answer_page,
    database_of,
    decode_cursor,
    library_of,
    read_body,
    show_library,
    threads_of,
)

router = APIRouter(prefix="/v1/libraries", tags=["libraries"])

Limit = Annotated[int, Query(ge=1, le=1_000)]
Position = Annotated[int | None, Query(ge=0)]
PageCursor = Annotated[
    str | None, Query(description="`next_cursor` of the page before", json_schema_extra={"format": "cursor"})
]
_INDEX_READY = {"type": "flat", "state": "ready", "progress": 1.0, "error": None}


@router.post("", openapi_extra=takes(schemas.LibraryCreate), **gives(schemas.Library, 201))
async def create_library(request: Request) -> Response:
    """Make a library; 409 when its id or name is taken."""
    wanted = await read_body(request, schemas.LibraryCreate, is_write=True)
    library = await threads_of(request).change(lambda: database_of(request).create_library(wanted))
    return answer(show_library(library.row, await threads_of(request).read(library.read_stats)), 201, log_position=0)


@router.get("", **gives(schemas.LibraryPage))
async def list_libraries(request: Request, limit: Limit = 100, cursor: PageCursor = None) -> Response:
    """One page of libraries, by id."""
    after = decode_cursor(cursor) or ""

    def read() -> Response:
        page = database_of(request).read_libraries(after, limit + 1)
        return answer_page("libraries", page, limit, lambda pair: show_library(*pair), lambda pair: pair[0].id)

    return await threads_of(request).read(read)


@router.get("/{library_id}", **gives(schemas.Library))
async def get_library(request: Request, library_id: str, min_log_position: Position = None) -> Response:
    """A library and its stats."""
    library = library_of(request)
    library.require_log_position(min_log_position)
    return answer(show_library(library.row, await threads_of(request).read(library.read_stats)))


@router.patch("/{library_id}", openapi_extra=takes(schemas.LibraryUpdate), **gives(schemas.Library))
async def update_library(request: Request, library_id: str) -> Response:
    """Change name or metadata; 409 for a taken name, another dimension or metric."""
    wanted = await read_body(request, schemas.LibraryUpdate, is_write=True)
    future = await threads_of(request).change(lambda: database_of(request).update_library(library_id, wanted))
    written = await asyncio.wrap_future(future)
    shown = show_library(written.value, await threads_of(request).read(library_of(request).read_stats))
    return answer(shown, log_position=written.log_position)


@router.delete("/{library_id}", **gives(None, 204))
async def delete_library(request: Request, library_id: str) -> Response:
    """Delete a library and everything in it."""
    await threads_of(request).change(lambda: database_of(request).delete_library(library_id))
    return answer_nothing()


@router.post("/{library_id}/index", openapi_extra=takes(schemas.IndexSpec), **gives(schemas.IndexStatus, 202))
async def build_index(request: Request, library_id: str) -> Response:
    """Build an index; `flat` is always built."""
    library_of(request)
    await read_body(request, schemas.IndexSpec, is_write=True)
    return answer(_INDEX_READY, 202)


@router.get("/{library_id}/index", **gives(schemas.IndexStatus))
async def get_index(request: Request, library_id: str) -> Response:
    """How far the index is."""
    library_of(request)
    return answer(_INDEX_READY)
