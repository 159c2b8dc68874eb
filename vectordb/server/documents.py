"""Calls on documents."""

import asyncio

from fastapi import APIRouter, Request, Response

from vectordb import schemas
from vectordb.server.description import gives, takes
from vectordb.server.exchange import (
    answer,
    answer_nothing,
    answer_page,
    decode_number_cursor,
    library_of,
    read_body,
    show_document,
    threads_of,
)
from vectordb.server.libraries import Limit, PageCursor, Position

router = APIRouter(prefix="/v1/libraries/{library_id}/documents", tags=["documents"])


@router.post("", openapi_extra=takes(schemas.DocumentCreate), **gives(schemas.Document, 201))
async def create_document(request: Request, library_id: str) -> Response:
    """Add a document; 409 when its id is taken."""
    library = library_of(request)
    wanted = await read_body(request, schemas.DocumentCreate, is_write=True)
    written = await asyncio.wrap_future(library.create_document(wanted))
    return answer(show_document(written.value), 201, log_position=written.log_position)


@router.get("", **gives(schemas.DocumentPage))
async def list_documents(
    request: Request,
    library_id: str,
    limit: Limit = 100,
    cursor: PageCursor = None,
    min_log_position: Position = None,
) -> Response:
    """One page of documents, oldest first."""
    library = library_of(request)
    library.require_log_position(min_log_position)
    after = decode_number_cursor(cursor)

    def read() -> Response:
        rows = library.list_documents(after, limit + 1)
        return answer_page("documents", rows, limit, show_document, lambda row: str(row.number))

    return await threads_of(request).read(read)


@router.get("/{document_id}", **gives(schemas.Document))
async def get_document(
    request: Request, library_id: str, document_id: str, min_log_position: Position = None
) -> Response:
    """One document."""
    library = library_of(request)
    library.require_log_position(min_log_position)
    return answer(show_document(library.get_document(document_id)))


@router.patch("/{document_id}", openapi_extra=takes(schemas.DocumentUpdate), **gives(schemas.Document))
async def update_document(request: Request, library_id: str, document_id: str) -> Response:
    """Change name or metadata."""
    library = library_of(request)
    wanted = await read_body(request, schemas.DocumentUpdate, is_write=True)
    written = await asyncio.wrap_future(library.update_document(document_id, wanted))
    return answer(show_document(written.value), log_position=written.log_position)


@router.delete("/{document_id}", **gives(None, 204))
async def delete_document(request: Request, library_id: str, document_id: str) -> Response:
    """Delete a document and its chunks."""
    written = await asyncio.wrap_future(library_of(request).delete_document(document_id))
    return answer_nothing(log_position=written.log_position)
