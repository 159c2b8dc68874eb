"""The way in from Python: `Client`, over HTTP.

Errors are those of `vectordb.errors`, answers those of `vectordb.schemas`; what callers need of both is here too.
"""

from vectordb.client.client import Client
from vectordb.errors import (
    Conflict,
    Invalid,
    NotFound,
    ReadOnly,
    SnapshotDamaged,
    StorageFull,
    Unauthorized,
    Unavailable,
    VectorDBError,
)
from vectordb.schemas import (
    BatchSearchResponse,
    Chunk,
    ChunkInput,
    ChunkPage,
    DeleteResult,
    Document,
    DocumentPage,
    Library,
    LibraryPage,
    SearchHit,
    SearchResponse,
    Snapshot,
    SnapshotPage,
    SnapshotRestored,
    UpsertResult,
)

__all__ = [
    "BatchSearchResponse",
    "Chunk",
    "ChunkInput",
    "ChunkPage",
    "Client",
    "Conflict",
    "DeleteResult",
    "Document",
    "DocumentPage",
    "Invalid",
    "Library",
    "LibraryPage",
    "NotFound",
    "ReadOnly",
    "SearchHit",
    "SearchResponse",
    "Snapshot",
    "SnapshotDamaged",
    "SnapshotPage",
    "SnapshotRestored",
    "StorageFull",
    "Unauthorized",
    "Unavailable",
    "UpsertResult",
    "VectorDBError",
]
