"""Documents: what chunks belong to."""

from datetime import datetime
from typing import Any

from pydantic import Field

from vectordb.schemas.base import Id, Metadata, Name, RequestModel, ResponseModel


class DocumentCreate(RequestModel):
    """POST …/documents."""

    id: Id | None = None
    name: Name
    metadata: Metadata = Field(default_factory=dict)


class DocumentUpdate(RequestModel):
    """PATCH …/documents/{document_id}: what is left out stays; metadata is replaced whole."""

    name: Name | None = None
    metadata: Metadata | None = None


class Document(ResponseModel):
    """A document as it is told."""

    id: str
    name: str
    metadata: dict[str, Any]
    chunk_count: int
    created_at: datetime
    updated_at: datetime


class DocumentPage(ResponseModel):
    """One page of documents, oldest first; `next_cursor` is null on the last one."""

    documents: list[Document]
    next_cursor: str | None
