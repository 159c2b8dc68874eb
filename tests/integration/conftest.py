"""The vector database with an embedder that costs nothing, as knowledge's own tests have it."""

from __future__ import annotations

from tests.knowledge.conftest import indexer, interrupted, store, tiny, use_environment

__all__ = ["indexer", "interrupted", "store", "tiny", "use_environment"]
