"""Reads the body of an OpenAI-compatible embeddings response, trusting nothing in it."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.errors import EmbedderUnavailable


def parse_vectors(body: bytes, *, count: int, dimension: int | None) -> NDArray[np.float32]:
    """Return the response's embeddings as rows of unit length, in the order of the request: float32 [count, d].

    Embeddings may be lists of numbers or base64 of little-endian float32: servers differ in what they heed. Raises
    EmbedderUnavailable when the body is anything else than `count` finite, non-zero vectors of one dimension, which is
    `dimension` unless that is None.
    """
    rows = [_parse_vector(item) for item in _in_order(_parse_items(body, count))]
    dimensions = {row.shape[0] for row in rows}
    if len(dimensions) != 1 or 0 in dimensions or (dimension is not None and dimensions != {dimension}):
        expected = "one dimension" if dimension is None else f"{dimension} dimensions"
        raise EmbedderUnavailable(
            f"The embedder answered vectors of {sorted(dimensions)} dimensions, not of {expected}."
        )
    # In float64: components near float32's limit have squares far beyond it.
    vectors = np.stack(rows)
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise EmbedderUnavailable("The embedder answered a vector that is zero or not finite.")
    unit_vectors: NDArray[np.float32] = (vectors / norms).astype(np.float32)
    return unit_vectors


def _parse_items(body: bytes, count: int) -> list[dict[str, Any]]:
    try:
        answer = json.loads(body)
    # RecursionError: a body of nothing but brackets.
    except (ValueError, RecursionError) as exc:
        raise EmbedderUnavailable("The embedder answered something that is not JSON.") from exc
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise EmbedderUnavailable("The embedder's answer has no list of embeddings.")
    if len(items) != count:
        raise EmbedderUnavailable(f"The embedder answered {len(items)} embeddings for {count} texts.")
    return items


def _in_order(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sorted by `index`, or as they come when a server leaves it out everywhere."""
    places = [item.get("index") for item in items]
    if places == [None] * len(items):
        return items
    by_place = {place: item for place, item in zip(places, items, strict=True) if type(place) is int}
    if by_place.keys() != set(range(len(items))):
        raise EmbedderUnavailable("The embedder's answer does not say which embedding is whose.")
    return [by_place[place] for place in range(len(items))]


def _parse_vector(item: dict[str, Any]) -> NDArray[np.float64]:
    embedding = item.get("embedding")
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float64)
        if isinstance(embedding, list) and all(type(component) in (int, float) for component in embedding):
            return np.array(embedding, dtype=np.float64)
    # OverflowError: an integer beyond float64.
    except (ValueError, OverflowError) as exc:
        raise EmbedderUnavailable("The embedder answered an embedding that cannot be decoded.") from exc
    raise EmbedderUnavailable("The embedder answered an embedding that is no list of numbers.")
