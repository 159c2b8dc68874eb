"""What each write does inside its transaction. All of them take a `WriteSession` and change nothing when they raise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from vectordb.engine.writer import WriteSession
from vectordb.errors import Conflict, NotFound
from vectordb.schemas import ChunkInput, ChunkUpdate, Condition, DocumentCreate, DocumentUpdate, FloatArray, IdArray
from vectordb.schemas.base import make_id
from vectordb.storage import ChunkRow, DocumentRow, NewChunk


@dataclass(frozen=True, slots=True)
class Upserted:
    """Ids in the order they came in; how many were new, how many replaced one."""

    ids: list[str]
    created: int
    updated: int


def create_document(session: WriteSession, request: DocumentCreate) -> DocumentRow:
    """Add a document. Raises Conflict when its id is taken."""
    document_id = request.id or make_id()
    if session.file.documents.find(document_id) is not None:
        raise Conflict(f'there is a document "{document_id}" already')
    metadata = orjson.dumps(request.metadata).decode()
    session.file.documents.insert(id=document_id, name=request.name, metadata=metadata, now=session.now)
    return find_document(session, document_id)


def update_document(session: WriteSession, document_id: str, request: DocumentUpdate) -> DocumentRow:
    """Change a document's name or metadata. Raises NotFound."""
    row = find_document(session, document_id)
    session.erases = True
    session.file.documents.update(
        row.number,
        name=row.name if request.name is None else request.name,
        metadata=row.metadata if request.metadata is None else orjson.dumps(request.metadata).decode(),
        now=session.now,
    )
    return find_document(session, document_id)


def delete_document(session: WriteSession, document_id: str) -> None:
    """Delete a document and its chunks. Raises NotFound."""
    row = find_document(session, document_id)
    _delete_numbers(session, session.file.chunks.numbers_of_document(row.number))
    session.file.documents.delete(row.number)
    session.erases = True


def upsert_chunks(session: WriteSession, chunks: Sequence[ChunkInput]) -> Upserted:
    """Add or replace chunks, all or nothing. Raises NotFound when a document is not there."""
    documents = session.file.documents.find_numbers(sorted({chunk.document_id for chunk in chunks}))
    for chunk in chunks:
        if chunk.document_id not in documents:
            raise NotFound(f'there is no document "{chunk.document_id}" in this library')
    ids = [chunk.id or make_id() for chunk in chunks]
    present = session.file.chunks.find_numbers(ids)
    number = session.file.chunks.next_number()
    created: list[NewChunk] = []
    replaced: list[NewChunk] = []
    for chunk_id, chunk in zip(ids, chunks, strict=True):
        is_new = chunk_id not in present
        new = NewChunk(
            number=number if is_new else present[chunk_id],
            id=chunk_id,
            document=documents[chunk.document_id],
            text=chunk.text,
            metadata=orjson.dumps(chunk.metadata).decode(),
            embedding=chunk.embedding,
        )
        (created if is_new else replaced).append(new)
        number += is_new
    session.file.chunks.insert(created, now=session.now)
    session.file.chunks.replace(replaced, now=session.now)
    session.erases = bool(replaced)
    for new in (*created, *replaced):
        session.changes.vectors[new.number] = new.embedding
        session.changes.texts[new.number] = new.text
    return Upserted(ids, len(created), len(replaced))


def update_chunk(session: WriteSession, chunk_id: str, request: ChunkUpdate) -> ChunkRow:
    """Change parts of a chunk. Raises NotFound when the chunk or its new document is not there."""
    row = session.file.chunks.find(chunk_id, with_embedding=True)
    if row is None:
        raise NotFound(f'there is no chunk "{chunk_id}"')
    document = find_document(session, request.document_id or row.document_id)
    embedding = request.embedding if request.embedding is not None else _stored_embedding(row)
    new = NewChunk(
        number=row.number,
        id=row.id,
        document=document.number,
        text=row.text if request.text is None else request.text,
        metadata=row.metadata if request.metadata is None else orjson.dumps(request.metadata).decode(),
        embedding=embedding,
    )
    session.file.chunks.replace([new], now=session.now)
    session.erases = True
    if request.embedding is not None:
        session.changes.vectors[row.number] = request.embedding
    if request.text is not None:
        session.changes.texts[row.number] = request.text
    return find_chunk(session, chunk_id)


def delete_chunk(session: WriteSession, chunk_id: str) -> None:
    """Delete one chunk. Raises NotFound."""
    _delete_numbers(session, np.array([find_chunk(session, chunk_id).number], dtype=np.int64))


def delete_chunks_by_ids(session: WriteSession, ids: Sequence[str]) -> int:
    """Delete those of `ids` that are there; return how many."""
    numbers = sorted(session.file.chunks.find_numbers(ids).values())
    return _delete_numbers(session, np.array(numbers, dtype=np.int64))


def delete_chunks_by_filter(session: WriteSession, condition: Condition) -> int:
    """Delete what matches; return how many."""
    return _delete_numbers(session, session.file.chunks.match(condition))


def find_document(session: WriteSession, document_id: str) -> DocumentRow:
    """Return the document. Raises NotFound."""
    row = session.file.documents.find(document_id)
    if row is None:
        raise NotFound(f'there is no document "{document_id}"')
    return row


def find_chunk(session: WriteSession, chunk_id: str) -> ChunkRow:
    """Return the chunk. Raises NotFound."""
    row = session.file.chunks.find(chunk_id)
    if row is None:
        raise NotFound(f'there is no chunk "{chunk_id}"')
    return row


def _stored_embedding(row: ChunkRow) -> FloatArray:
    assert row.embedding is not None, "the row was read with its embedding"
    return row.embedding


def _delete_numbers(session: WriteSession, numbers: IdArray) -> int:
    if len(numbers):
        session.file.chunks.delete(numbers)
        session.changes.remove(numbers.tolist())
        session.erases = True
    return len(numbers)
