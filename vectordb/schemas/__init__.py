"""The shapes of requests and answers, shared by server and client."""

from vectordb.schemas.arrays import FloatArray, IdArray
from vectordb.schemas.base import Metric
from vectordb.schemas.chunks import (
    Chunk,
    ChunkInput,
    ChunkPage,
    ChunksDelete,
    ChunksUpsert,
    ChunkUpdate,
    DeleteResult,
    UpsertResult,
)
from vectordb.schemas.documents import Document, DocumentCreate, DocumentPage, DocumentUpdate
from vectordb.schemas.filters import And, Condition, Equals
from vectordb.schemas.libraries import (
    IndexSpec,
    IndexStatus,
    Library,
    LibraryCreate,
    LibraryPage,
    LibraryStats,
    LibraryUpdate,
)
from vectordb.schemas.problems import Problem
from vectordb.schemas.search import (
    BatchSearchResponse,
    CountRequest,
    CountResponse,
    FoundChunk,
    HybridScores,
    HybridSearchCall,
    HybridSearchRequest,
    SearchHit,
    SearchRequest,
    SearchResponse,
)

__all__ = [
    "And",
    "BatchSearchResponse",
    "Chunk",
    "ChunkInput",
    "ChunkPage",
    "ChunkUpdate",
    "ChunksDelete",
    "ChunksUpsert",
    "Condition",
    "CountRequest",
    "CountResponse",
    "DeleteResult",
    "Document",
    "DocumentCreate",
    "DocumentPage",
    "DocumentUpdate",
    "Equals",
    "FloatArray",
    "FoundChunk",
    "HybridScores",
    "HybridSearchCall",
    "HybridSearchRequest",
    "IdArray",
    "IndexSpec",
    "IndexStatus",
    "Library",
    "LibraryCreate",
    "LibraryPage",
    "LibraryStats",
    "LibraryUpdate",
    "Metric",
    "Problem",
    "SearchHit",
    "SearchRequest",
    "SearchResponse",
    "UpsertResult",
]
