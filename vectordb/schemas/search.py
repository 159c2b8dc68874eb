"""Searches and what they find."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from vectordb.schemas.arrays import Embedding, FloatArray
from vectordb.schemas.base import RequestModel, ResponseModel, exactly_one_of
from vectordb.schemas.filters import FilterField

MAX_QUERIES_PER_CALL = 1_000
MAX_RESULTS_PER_CALL = 100_000
MAX_QUESTION_CHARACTERS = 10_000

K = Annotated[int, Field(ge=1, le=1_000)]
LogPosition = Annotated[int, Field(ge=0)]


class SearchRequest(RequestModel):
    """POST …/search: one `embedding`, or several `embeddings`."""

    model_config = exactly_one_of("embedding", "embeddings")

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
        _require_one_of_the_two(self.embedding, self.embeddings, self.k)
        return self


class _HybridOptions(RequestModel):
    text: Annotated[str, Field(max_length=MAX_QUESTION_CHARACTERS)]
    k: K = 10
    filter: FilterField = None
    score_threshold: float | None = None
    exact: bool = False
    include: list[Literal["embedding", "scores"]] = Field(default_factory=list)
    group_by: Literal["document_id"] | None = None
    min_log_position: LogPosition | None = None


class HybridSearchRequest(_HybridOptions):
    """One hybrid search: the words of `text` beside the embedding."""

    embedding: Embedding


class HybridSearchCall(_HybridOptions):
    """POST …/search/hybrid: the words of `text` beside one `embedding`, or beside each of several `embeddings`."""

    model_config = exactly_one_of("embedding", "embeddings")

    embedding: Embedding | None = None
    embeddings: Annotated[list[Embedding], Field(min_length=1, max_length=MAX_QUERIES_PER_CALL)] | None = None

    @model_validator(mode="after")
    def require_one_of_the_two(self) -> "HybridSearchCall":
        """Refuse neither and both."""
        _require_one_of_the_two(self.embedding, self.embeddings, self.k)
        return self

    def split(self) -> list[HybridSearchRequest]:
        """Return one search for each embedding, in their order."""
        options = {name: getattr(self, name) for name in _HybridOptions.model_fields}
        alone = [] if self.embedding is None else [self.embedding]
        return [HybridSearchRequest.model_construct(**options, embedding=one) for one in self.embeddings or alone]


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


def _require_one_of_the_two(embedding: FloatArray | None, embeddings: list[FloatArray] | None, k: int) -> None:
    if (embedding is None) == (embeddings is None):
        raise PydanticCustomError("embedding_or_embeddings", "exactly one of embedding and embeddings")
    if embeddings is not None and len(embeddings) * k > MAX_RESULTS_PER_CALL:
        limit = MAX_RESULTS_PER_CALL
        raise PydanticCustomError("too_many_results", "embeddings times k is more than {limit}", {"limit": limit})
