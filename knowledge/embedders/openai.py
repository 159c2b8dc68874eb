"""Embeddings from any OpenAI-compatible endpoint, through the official SDK."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from knowledge.embedders.characters import replace_lone_surrogates
from knowledge.embedders.openai_response import parse_vectors
from knowledge.errors import EmbedderRefused, EmbedderUnavailable, EndpointRefused, EndpointUnavailable
from knowledge.openai_endpoint import OpenAIEndpoint, read_bounded

# Providers' models differ widely; for text-embedding-3 unrelated texts lie below, related ones above.
RELEVANCE_THRESHOLD = 0.3
# 16,384 components, written out as JSON numbers of 30 characters.
MAX_BODY_BYTES_PER_TEXT = 500_000


class OpenAIEmbedder:
    """Embeds texts by `POST {base_url}/embeddings`, in batches of `batch_size`; safe from several lanes at once.

    `timeout_s` bounds the time of one batch as a whole: connecting, a body that trickles in, retries and the pauses
    between them. Lost connections and 5xx are tried again up to `max_retries` times within it, other refusals and
    nonsense never. Every fault is an EmbedderUnavailable (EmbedderRefused where it is these texts that it does not
    take), whose message holds neither the key, nor a text, nor anything that the endpoint wrote.

    `api_key` may be empty for a server that wants none. `dimension` is what every answer must have; left out, the first
    answer settles it (and reading the property before any asks for one). Raises ValueError for a base_url or a key that
    no request can carry.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str,
        timeout_s: float = 20.0,
        max_retries: int = 2,
        batch_size: int = 64,
        dimension: int | None = None,
        relevance_threshold: float = RELEVANCE_THRESHOLD,
    ) -> None:
        if batch_size < 1:
            raise ValueError("batch_size must be positive")
        self._endpoint = OpenAIEndpoint(
            base_url=base_url, api_key=api_key, timeout_s=timeout_s, max_retries=max_retries, called="embedder"
        )
        self._base_url = base_url
        self._model = model
        self._batch_size = batch_size
        self._dimension = dimension
        self._relevance_threshold = relevance_threshold
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """Model and endpoint: two providers' models of one name need not be the same; their weights cannot be seen."""
        url = urlsplit(self._base_url)
        host = url.hostname or ""
        return f"{self._model}@{host}{f':{url.port}' if url.port else ''}{url.path.rstrip('/')}"

    @property
    def dimension(self) -> int:
        if self._dimension is None:
            self.embed_query("dimension")
        assert self._dimension is not None
        return self._dimension

    @property
    def relevance_threshold(self) -> float:
        return self._relevance_threshold

    def embed_query(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed_documents([text])[0]
        return vector

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        starts = range(0, len(texts), self._batch_size)
        return np.concatenate([self._embed_batch(texts[start : start + self._batch_size]) for start in starts])

    def close(self) -> None:
        """Close connections and end the background thread; the next embedding opens them again."""
        self._endpoint.close()

    def _embed_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        batch = [replace_lone_surrogates(text) for text in texts]
        max_bytes = MAX_BODY_BYTES_PER_TEXT * len(batch)
        try:
            body = self._endpoint.call(
                lambda client: read_bounded(
                    client.embeddings.with_streaming_response.create(
                        model=self._model, input=batch, encoding_format="base64"
                    ),
                    max_bytes=max_bytes,
                )
            )
        except EndpointUnavailable as exc:
            kind = EmbedderRefused if isinstance(exc, EndpointRefused) else EmbedderUnavailable
            raise kind(str(exc), retry_after_s=exc.retry_after_s) from None
        if len(body) > max_bytes:
            raise EmbedderUnavailable("The embedder's answer is too large.")
        vectors = parse_vectors(body, count=len(batch), dimension=self._dimension)
        self._settle_dimension(vectors.shape[1])
        return vectors

    def _settle_dimension(self, dimension: int) -> None:
        with self._lock:
            if self._dimension is None:
                self._dimension = dimension
        if dimension != self._dimension:
            raise EmbedderUnavailable(f"The embedder answered {dimension} dimensions after {self._dimension}.")
