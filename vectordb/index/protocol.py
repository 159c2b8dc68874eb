"""What the engine expects of an index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from vectordb.schemas.arrays import FloatArray, IdArray
from vectordb.schemas.base import Metric


class Index(Protocol):
    """An index of vectors, made by `Type(dimension, metric, **params)`.

    One writer at a time adds and removes (implementations see to it); any number of threads search meanwhile.
    """

    @property
    def dimension(self) -> int:
        """The length of every vector."""

    @property
    def metric(self) -> Metric:
        """What scores are; larger is better in each."""

    def add(self, ids: IdArray, vectors: FloatArray) -> None:
        """Add `vectors` (n, d) under `ids` (n,), which are distinct; an id that is there is replaced.

        Raises Invalid for a wrong shape and for a zero vector under cosine; nothing is added then.
        """

    def remove(self, ids: IdArray) -> None:
        """Remove `ids`; those that are not there are passed over."""

    def search(
        self, queries: FloatArray, k: int, *, allowed: IdArray | None = None, **search_params: Any
    ) -> tuple[IdArray, FloatArray]:
        """Return (ids int64 (q, k), scores float32 (q, k)), best first, equal scores by id, padded with -1 and -inf.

        Only ids in `allowed` (sorted, distinct) are found when it is given.
        """

    def save(self, path: Path) -> None:
        """Write the index to `path` so that it is there whole or not at all, and fsynced."""

    @classmethod
    def load(cls, path: Path) -> "Index":
        """Return the index saved at `path`. Raises IndexFileInvalid."""

    def __len__(self) -> int:
        """Return how many ids it holds."""

    def memory_bytes(self) -> int:
        """Return the bytes that its arrays take."""


class TextIndex(Protocol):
    """An index of words, with the same life as `Index`."""

    def add(self, ids: IdArray, texts: Sequence[str]) -> None:
        """Add `texts` under `ids`, which are distinct; an id that is there is replaced."""

    def remove(self, ids: IdArray) -> None:
        """Remove `ids`; those that are not there are passed over."""

    def search(self, text: str, k: int, *, allowed: IdArray | None = None) -> tuple[IdArray, FloatArray]:
        """Return (ids int64 (k,), scores float32 (k,)), best first, equal scores by id, padded with -1 and -inf.

        What shares no word with `text` is not found.
        """

    def save(self, path: Path) -> None:
        """Write the index to `path` so that it is there whole or not at all, and fsynced."""

    @classmethod
    def load(cls, path: Path) -> "TextIndex":
        """Return the index saved at `path`. Raises IndexFileInvalid."""

    def __len__(self) -> int:
        """Return how many ids it holds."""

    def memory_bytes(self) -> int:
        """Return the bytes that its arrays take."""
