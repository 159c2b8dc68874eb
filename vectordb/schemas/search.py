"""Searches and what they find."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from vectordb.schemas.arrays import Embedding
from vectordb.schemas.base import RequestModel, ResponseModel
from vectordb.schemas.filters import FilterField

MAX_QUERIES_PER_CALL = 1_000
MAX_RESULTS_PER_CALL = 100_000
MAX_QUESTION_CHARACTERS = 10_000

K = Annotated[int, Field(ge=1, le=1_000)]
LogPosition = Annotated[int, Field(ge=0)]


class SearchRequest(RequestModel):
    """POST …/search: one `embedding`, or several `embeddings`."""

    embedding: Embedding | None = None
    embeddings: Annotated[list[Embedding], Field(min_length=1, max_length=MAX_QUERIES_PER_CALL)] | None = None
    k: K = 10
    filter: FilterField = None
    score_threshold: float | None = None
    exact: bool = False
    include: list[Literal["embedding"]] = Field(default_factory=list)
    group_by: Literal["document_id"] | None = None
    min_log_position: LogPosition | None = None

    @model_validator(mode="after")
    def require_one_of_the_two(self) -> "SearchRequest":
        """Refuse neither and both."""
        if (self.embedding is None) == (self.embeddings is None):
            raise PydanticCustomError("embedding_or_embeddings", "exactly one of embedding and embeddings")
        if self.embeddings is not None and len(self.embeddings) * self.k > MAX_RESULTS_PER_CALL:
            limit = MAX_RESULTS_PER_CALL
            raise PydanticCustomError("too_many_results", "embeddings times k is more than {limit}", {"limit": limit})
        return self


class HybridSearchRequest(RequestModel):
    """POST …/search/hybrid: the words of `text` beside the embedding."""

    embedding: Embedding
    text: Annotated[str, Field(max_length=MAX_QUESTION_CHARACTERS)]
    k: K = 10
    filter: FilterField = None
    score_threshold: float | None = None
    exact: bool = False
    include: list[Literal["embedding", "scores"]] = Field(default_factory=list)
    group_by: Literal["document_id"] | None = None
    min_log_position: LogPosition | None = None


class CountRequest(RequestModel):
    """POST …/count."""

    filter: FilterField = None
    min_log_position: LogPosition | None = None


class FoundChunk(ResponseModel):
    """A chunk as a search tells it."""

    id: str
    document_id: str
    text: str
    metadata: dict[str, Any]
    embedding: Embedding | None = None


class HybridScores(ResponseModel):
    """The two scores behind a joined one: by embedding, and by words (null when none of them is in the chunk)."""

    vector: float | None
    text: float | None


class SearchHit(ResponseModel):
    """One result; a larger score is better in every metric."""

    chunk: FoundChunk
    score: float
    scores: HybridScores | None = None


class SearchResponse(ResponseModel):
    """The results of one query, best first."""

    results: list[SearchHit]


class BatchSearchResponse(ResponseModel):
    """The results of several queries, in their order."""

    results: list[list[SearchHit]]


class CountResponse(ResponseModel):
    """How many chunks match."""

    count: int
