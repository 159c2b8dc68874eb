"""The role of an embedder: texts in, vectors of unit length out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Maps texts to vectors whose cosine says how near their meanings are.

    Implementations are safe to call from several lanes at once. Faults of what they depend on are
    `EmbedderUnavailable`; damaged local files are `ModelFilesInvalid`.
    """

    @property
    def fingerprint(self) -> str:
        """The model's id and, where there are local weights, their hash.

        Stored with every library: vectors of two fingerprints never mix.
        """
        ...

    @property
    def dimension(self) -> int:
        """Components of each vector."""
        ...

    @property
    def relevance_threshold(self) -> float:
        """A best cosine below this means "nothing relevant" for this model."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array of shape (len(texts), dimension), one row of unit length for each text, in order."""
        ...

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return an array of shape (dimension,) and unit length."""
        ...
