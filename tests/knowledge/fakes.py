"""Stand-ins that implement the room's protocols."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.vector_store import Hit, Scalar, StoredChunk, StoredDocument, StoredText, VectorStore

DIMENSION = 32


class TinyEmbedder:
    """Hashes words into 32 dimensions: the same text, the same vector; common words, a high cosine."""

    relevance_threshold = 0.3
    dimension = DIMENSION

    def __init__(self, fingerprint: str = "tiny@1") -> None:
        self.fingerprint = fingerprint
        self.embedded: list[str] = []
        self.before_each: Callable[[], None] = lambda: None

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.before_each()
        self.embedded += texts
        return np.stack([embed(text) for text in texts])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return embed(text)


class WideEmbedder(TinyEmbedder):
    """Another embedder: of more dimensions, and of another mind about every word."""

    dimension = 2 * DIMENSION

    def __init__(self, fingerprint: str = "wide@1") -> None:
        super().__init__(fingerprint)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return widen(super().embed_documents(texts))

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return widen(super().embed_query(text))


def widen(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros_like(vectors), vectors[..., ::-1]], axis=-1)


class SlowTinyEmbedder(TinyEmbedder):
    """As slow as SLOW_EMBEDDER_SECONDS says: leaves time to kill its process."""

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(float(os.environ.get("SLOW_EMBEDDER_SECONDS", "0")))
        return super().embed_documents(texts)


class SlowWideEmbedder(WideEmbedder):
    """The other one, as slow."""

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(float(os.environ.get("SLOW_EMBEDDER_SECONDS", "0")))
        return super().embed_documents(texts)


def embed(text: str) -> NDArray[np.float32]:
    vector = np.full(DIMENSION, 1e-3, dtype=np.float32)
    for word in text.lower().split():
        vector[zlib.crc32(word.strip(".,:;!?#>*").encode()) % DIMENSION] += 1
    return vector / np.linalg.norm(vector)


class Killed(BaseException):
    """What kill -9 is to a process: nothing after it runs, and nothing catches it."""


class InterruptedStore:
    """A store whose `before` is called ahead of every call that it passes on, with the call's name."""

    def __init__(self, store: VectorStore, before: Callable[[str], None]) -> None:
        self._store = store
        self.before = before

    def ensure_library(self, library_id: str, *, name: str, dimension: int) -> None:
        self.before("ensure_library")
        self._store.ensure_library(library_id, name=name, dimension=dimension)

    def put_document(self, library_id: str, document_id: str, *, name: str, metadata: Mapping[str, Any]) -> None:
        self.before("put_document")
        self._store.put_document(library_id, document_id, name=name, metadata=metadata)

    def put_chunks(self, library_id: str, document_id: str, chunks: Sequence[StoredChunk]) -> bool:
        self.before("put_chunks")
        return self._store.put_chunks(library_id, document_id, chunks)

    def chunk_ids(self, library_id: str, document_id: str) -> set[str]:
        self.before("chunk_ids")
        return self._store.chunk_ids(library_id, document_id)

    def list_libraries(self) -> Iterator[str]:
        self.before("list_libraries")
        return self._store.list_libraries()

    def list_documents(self, library_id: str) -> Iterator[StoredDocument]:
        self.before("list_documents")
        return self._store.list_documents(library_id)

    def count_chunks(self, library_id: str, document_id: str, revision: int) -> int:
        self.before("count_chunks")
        return self._store.count_chunks(library_id, document_id, revision)

    def read_texts(self, library_id: str, document_id: str) -> list[StoredText]:
        self.before("read_texts")
        return self._store.read_texts(library_id, document_id)

    def delete_chunks(self, library_id: str, ids: Sequence[str]) -> None:
        self.before("delete_chunks")
        self._store.delete_chunks(library_id, ids)

    def delete_document(self, library_id: str, document_id: str) -> None:
        self.before("delete_document")
        self._store.delete_document(library_id, document_id)

    def delete_library(self, library_id: str) -> None:
        self.before("delete_library")
        self._store.delete_library(library_id)

    def hybrid_search(
        self,
        library_id: str,
        *,
        embedding: NDArray[np.float32],
        text: str,
        k: int,
        filters: Mapping[str, Scalar] | None = None,
    ) -> list[Hit]:
        self.before("hybrid_search")
        return self._store.hybrid_search(library_id, embedding=embedding, text=text, k=k, filters=filters)

    def is_ready(self) -> bool:
        return self._store.is_ready()
