"""The embedder that the service embeds with, and the one before it, while libraries hold that one's vectors."""

from __future__ import annotations

from dataclasses import dataclass

from knowledge.embedders.protocol import Embedder
from knowledge.errors import EmbedderChanged


@dataclass(frozen=True, slots=True)
class Embedders:
    """`current` makes what is new. `previous`, where there is one, serves libraries that were made with it."""

    current: Embedder
    previous: Embedder | None = None

    def of(self, fingerprint: str) -> Embedder:
        """The embedder whose vectors compare with that fingerprint's. Raises EmbedderChanged."""
        for embedder in (self.current, self.previous):
            if embedder is not None and embedder.fingerprint == fingerprint:
                return embedder
        raise EmbedderChanged(
            f"The project's documents were embedded with {fingerprint}, and the service now embeds with "
            f"{self.current.fingerprint}. Name the former as PREVIOUS_EMBEDDER, and have the documents indexed again."
        )

    def has(self, fingerprint: str) -> bool:
        """Whether `of` knows one."""
        try:
            self.of(fingerprint)
        except EmbedderChanged:
            return False
        return True
