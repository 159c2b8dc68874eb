"""Chunks: a piece of text with its embedding."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from vectordb.schemas.arrays import Embedding
from vectordb.schemas.base import Id, Metadata, RequestModel, ResponseModel, exactly_one_of
from vectordb.schemas.filters import FilterField

MAX_CHUNKS_PER_CALL = 10_000
MAX_TEXT_CHARACTERS = 1_000_000

Text = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]


class ChunkInput(RequestModel):
    """One chunk of an upsert. `embedding` takes a numpy array, a list of numbers, or base64 of float32."""

    id: Id | None = None
    document_id: Id
    text: Text
    embedding: Embedding
    metadata: Metadata = Field(default_factory=dict)


class ChunksUpsert(RequestModel):
    """POST …/chunks: all of them or none."""

    chunks: Annotated[list[ChunkInput], Field(min_length=1, max_length=MAX_CHUNKS_PER_CALL)]

    @model_validator(mode="after")
    def refuse_an_id_twice(self) -> "ChunksUpsert":
        """Refuse two chunks with one id: which of them should win would be a guess."""
        seen: set[str] = set()
        for chunk in self.chunks:
            if chunk.id is None:
                continue
            if chunk.id in seen:
                raise PydanticCustomError("id_twice", 'chunks: the id "{id}" stands there twice', {"id": chunk.id})
            seen.add(chunk.id)
        return self


class ChunkUpdate(RequestModel):
    """PATCH …/chunks/{chunk_id}: what is left out stays; metadata is replaced whole."""

    document_id: Id | None = None
    text: Text | None = None
    embedding: Embedding | None = None
    metadata: Metadata | None = None


class ChunksDelete(RequestModel):
    """POST …/chunks/delete: by ids or by filter, never both, and never all."""

    model_config = exactly_one_of("ids", "filter")

    ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_CHUNKS_PER_CALL)] | None = None
    filter: FilterField = None

    @model_validator(mode="after")
    def require_one_of_the_two(self) -> "ChunksDelete":
        """Refuse neither, both, and a filter without a condition."""
        if (self.ids is None) == (self.filter is None):
            raise PydanticCustomError("ids_or_filter", "exactly one of ids and filter, and not empty")
        return self


class UpsertResult(ResponseModel):
    """The ids in the order they were sent in; how many were new and how many replaced one."""

    ids: list[str]
    created: int
    updated: int
    log_position: int


class DeleteResult(ResponseModel):
    """How many chunks went."""

    deleted: int
    log_position: int


class Chunk(ResponseModel):
    """A chunk as it is told; `embedding` stands there when it was asked for."""

    id: str
    document_id: str
    text: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    embedding: Embedding | None = None


class ChunkPage(ResponseModel):
    """One page of chunks, oldest first; `next_cursor` is null on the last one."""

    chunks: list[Chunk]
    next_cursor: str | None
