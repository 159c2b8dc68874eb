"""Embeddings from any OpenAI-compatible endpoint, through the official SDK."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai
from numpy.typing import NDArray

from knowledge.embedders.characters import replace_lone_surrogates
from knowledge.embedders.event_loop import LoopThread
from knowledge.embedders.openai_response import parse_vectors
from knowledge.errors import EmbedderUnavailable

# Where the endpoint does not say when to come back.
RETRY_AFTER_S = 5
RETRY_AFTER_REFUSAL_S = 60
RETRY_AFTER_LIMIT_S = 3600
FIRST_PAUSE_S = 0.2
# Providers' models differ widely; for text-embedding-3 unrelated texts lie below, related ones above.
RELEVANCE_THRESHOLD = 0.3


@dataclass(frozen=True, slots=True)
class _Connection:
    client: openai.AsyncOpenAI
    loop: LoopThread
    process_id: int


class OpenAIEmbedder:
    """Embeds texts by `POST {base_url}/embeddings`, in batches of `batch_size`; safe from several lanes at once.

    `timeout_s` bounds the time of one batch as a whole: connecting, a body that trickles in, retries and the pauses
    between them. Lost connections and 5xx are tried again up to `max_retries` times within it, other refusals and
    nonsense never. Every fault is an EmbedderUnavailable, whose message holds neither the key, nor a text, nor anything
    that the endpoint wrote.

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
        if timeout_s <= 0 or max_retries < 0 or batch_size < 1:
            raise ValueError("timeout_s and batch_size must be positive, max_retries not negative")
        _check_base_url(base_url)
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("api_key must be printable ASCII")
        self._base_url = base_url
        self._model = model
        # Servers on one's own machine want no key, but the SDK wants one, and would look for it in the environment.
        self._api_key = api_key or "none"
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._batch_size = batch_size
        self._dimension = dimension
        self._relevance_threshold = relevance_threshold
        self._connection: _Connection | None = None
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
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None and connection.process_id == os.getpid():
            connection.loop.run(connection.client.close(), timeout_s=self._timeout_s)
            connection.loop.close()

    def _embed_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        batch = [replace_lone_surrogates(text) for text in texts]
        connection = self._get_connection()
        try:
            body = connection.loop.run(self._request(connection.client, batch), timeout_s=self._timeout_s)
        except TimeoutError as exc:
            raise EmbedderUnavailable(
                f"The embedder did not answer within {self._timeout_s:g} s.", retry_after_s=RETRY_AFTER_S
            ) from exc
        vectors = parse_vectors(body, count=len(batch), dimension=self._dimension)
        self._settle_dimension(vectors.shape[1])
        return vectors

    async def _request(self, client: openai.AsyncOpenAI, batch: list[str]) -> bytes:
        pause_s = FIRST_PAUSE_S
        for retries_left in reversed(range(self._max_retries + 1)):
            try:
                response = await client.embeddings.with_raw_response.create(
                    model=self._model, input=batch, encoding_format="base64"
                )
            except (openai.APIConnectionError, openai.InternalServerError) as exc:
                if not retries_left:
                    # `from None`: the SDK's message quotes the body, which may quote the text or the key.
                    raise _translate(exc) from None
            except openai.OpenAIError as exc:
                raise _translate(exc) from None
            else:
                return response.http_response.content
            await asyncio.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def _settle_dimension(self, dimension: int) -> None:
        with self._lock:
            if self._dimension is None:
                self._dimension = dimension
        if dimension != self._dimension:
            raise EmbedderUnavailable(f"The embedder answered {dimension} dimensions after {self._dimension}.")

    def _get_connection(self) -> _Connection:
        """The SDK's client and its loop; a forked process, to which the parent's thread did not come, makes its own."""
        with self._lock:
            if self._connection is None or self._connection.process_id != os.getpid():
                client = openai.AsyncOpenAI(
                    base_url=self._base_url,
                    api_key=self._api_key,
                    timeout=self._timeout_s,
                    # The SDK's own retries sleep for as long as the endpoint says.
                    max_retries=0,
                )
                self._connection = _Connection(client, LoopThread("openai-embedder"), os.getpid())
            return self._connection


def _check_base_url(base_url: str) -> None:
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("base_url must be a URL such as https://api.example.com/v1")


def _translate(exc: openai.OpenAIError) -> EmbedderUnavailable:
    if isinstance(exc, openai.APITimeoutError):
        return EmbedderUnavailable("The embedder did not answer in time.", retry_after_s=RETRY_AFTER_S)
    if isinstance(exc, openai.APIConnectionError):
        return EmbedderUnavailable("The connection to the embedder failed.", retry_after_s=RETRY_AFTER_S)
    if isinstance(exc, openai.APIStatusError):
        message = f"The embedder answered with status {exc.status_code}."
        return EmbedderUnavailable(message, retry_after_s=_read_retry_after(exc))
    return EmbedderUnavailable(f"The embedder failed ({type(exc).__name__}).", retry_after_s=RETRY_AFTER_S)


def _read_retry_after(exc: openai.APIStatusError) -> int:
    default_s = RETRY_AFTER_S if exc.status_code == 429 or exc.status_code >= 500 else RETRY_AFTER_REFUSAL_S
    value: Any = exc.response.headers.get("retry-after", "")
    # The header's other form, a date, is as good as none: clocks differ.
    if not (value.isascii() and value.isdigit()):
        return default_s
    return max(1, min(int(value[:9]), RETRY_AFTER_LIMIT_S))
