"""The way in from Python: `Client`, over HTTP.

Errors are those of `vectordb.errors`, answers those of `vectordb.schemas`.
"""

from vectordb.client.client import Client
from vectordb.schemas import Chunk, ChunkInput, Document, Library, SearchHit, SearchResponse, UpsertResult

__all__ = ["Chunk", "ChunkInput", "Client", "Document", "Library", "SearchHit", "SearchResponse", "UpsertResult"]
