"""Calls on chunks."""

import asyncio
from functools import partial
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic_core import PydanticCustomError

from vectordb import schemas
from vectordb.engine import Library
from vectordb.schemas.filters import parse_filter
from vectordb.server.description import gives, takes
from vectordb.server.exchange import (
    MAX_ANSWER_BYTES,
    answer,
    answer_nothing,
    answer_page,
    decode_number_cursor,
    is_long,
    library_of,
    read_body,
    refuse_parameter,
    show_chunk,
    threads_of,
)
from vectordb.server.libraries import Limit, PageCursor, Position
from vectordb.storage import ChunkRow

router = APIRouter(prefix="/v1/libraries/{library_id}/chunks", tags=["chunks"])

_SHORT_UPSERT_CHUNKS = 100
_ROWS_PER_READ = 101
"""One more than a page has by default: such a page is read at one moment."""

Include = Annotated[list[str] | None, Query(description='"embedding" adds the vectors')]


@router.post("", openapi_extra=takes(schemas.ChunksUpsert), **gives(schemas.UpsertResult))
async def upsert_chunks(request: Request, library_id: str) -> Response:
    """Add or replace up to 10,000 chunks by id, all or nothing."""
    library = library_of(request)
    wanted = await read_body(request, schemas.ChunksUpsert, is_write=True)
    # Looking through many vectors, or much metadata, would hold the event loop up.
    is_short = len(wanted.chunks) <= _SHORT_UPSERT_CHUNKS and not is_long(request)
    upsert = partial(library.upsert_chunks, wanted.chunks)
    future = upsert() if is_short else await threads_of(request).write(upsert)
    written = await asyncio.wrap_future(future)
    done = written.value
    result = {"ids": done.ids, "created": done.created, "updated": done.updated, "log_position": written.log_position}
    return answer(result, log_position=written.log_position)


@router.get("", **gives(schemas.ChunkPage))
async def list_chunks(
    request: Request,
    library_id: str,
    limit: Limit = 100,
    cursor: PageCursor = None,
    document_id: str | None = None,
    filter: str | None = None,
    include: Include = None,
    min_log_position: Position = None,
) -> Response:
    """One page of chunks, oldest first; `filter` is JSON."""
    library = library_of(request)
    library.require_log_position(min_log_position)
    after = decode_number_cursor(cursor)
    with_embedding = _wants_embedding(include)
    condition = _read_condition(document_id, filter)

    def read() -> Response:
        rows = _read_rows(library, after, limit + 1, condition, with_embedding=with_embedding)
        return answer_page("chunks", rows, limit, show_chunk, lambda row: str(row.number))

    return await threads_of(request).read(read)


@router.post("/delete", openapi_extra=takes(schemas.ChunksDelete), **gives(schemas.DeleteResult))
async def delete_chunks(request: Request, library_id: str) -> Response:
    """Delete chunks by `ids` or by `filter`."""
    library = library_of(request)
    wanted = await read_body(request, schemas.ChunksDelete, is_write=True)
    written = await asyncio.wrap_future(library.delete_chunks(wanted.ids, wanted.filter))
    result = {"deleted": written.value, "log_position": written.log_position}
    return answer(result, log_position=written.log_position)


@router.get("/{chunk_id}", **gives(schemas.Chunk))
async def get_chunk(
    request: Request, library_id: str, chunk_id: str, include: Include = None, min_log_position: Position = None
) -> Response:
    """One chunk."""
    library = library_of(request)
    library.require_log_position(min_log_position)
    return answer(show_chunk(library.get_chunk(chunk_id, with_embedding=_wants_embedding(include))))


@router.patch("/{chunk_id}", openapi_extra=takes(schemas.ChunkUpdate), **gives(schemas.Chunk))
async def update_chunk(request: Request, library_id: str, chunk_id: str) -> Response:
    """Change a chunk's document, text, embedding or metadata."""
    library = library_of(request)
    wanted = await read_body(request, schemas.ChunkUpdate, is_write=True)
    written = await asyncio.wrap_future(library.update_chunk(chunk_id, wanted))
    return answer(show_chunk(written.value), log_position=written.log_position)


@router.delete("/{chunk_id}", **gives(None, 204))
async def delete_chunk(request: Request, library_id: str, chunk_id: str) -> Response:
    """Delete one chunk."""
    written = await asyncio.wrap_future(library_of(request).delete_chunk(chunk_id))
    return answer_nothing(log_position=written.log_position)


def _read_rows(
    library: Library, after: int, limit: int, condition: schemas.Condition | None, *, with_embedding: bool
) -> list[ChunkRow]:
    """Return up to `limit` rows; part by part, so that large ones are not all read when they overfill a page."""
    rows: list[ChunkRow] = []
    size = 0
    while len(rows) < limit and size <= MAX_ANSWER_BYTES:
        wanted = min(limit - len(rows), _ROWS_PER_READ)
        part = library.list_chunks(rows[-1].number if rows else after, wanted, condition, with_embedding=with_embedding)
        rows.extend(part)
        size += sum(len(row.text) + len(row.metadata) for row in part)
        if len(part) < wanted:
            break
    return rows


def _wants_embedding(include: list[str] | None) -> bool:
    named = [name for value in include or () for name in value.split(",")]
    for name in named:
        if name != "embedding":
            raise refuse_parameter("include", f'"{name}" is unknown; "embedding" is known')
    return bool(named)


def _read_condition(document_id: str | None, filter: str | None) -> schemas.Condition | None:
    parts: list[schemas.Condition] = []
    if document_id is not None:
        parts.append(schemas.Equals("document_id", document_id))
    if filter is not None:
        try:
            condition = parse_filter(orjson.loads(filter))
        except PydanticCustomError as exc:
            raise refuse_parameter("filter", exc.message()) from exc
        except orjson.JSONDecodeError as exc:
            raise refuse_parameter("filter", "is no JSON") from exc
        parts.extend([] if condition is None else [condition])
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else schemas.And(tuple(parts))
