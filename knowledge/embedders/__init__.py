"""Embedders: protocol, the local MiniLM, and any OpenAI-compatible endpoint.

The implementations are imported on first use, so that naming this package loads neither onnxruntime nor the openai SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from knowledge.embedders.protocol import Embedder

if TYPE_CHECKING:
    from knowledge.embedders.minilm import MiniLMEmbedder
    from knowledge.embedders.openai import OpenAIEmbedder

__all__ = ["Embedder", "MiniLMEmbedder", "OpenAIEmbedder"]

_MODULES = {"MiniLMEmbedder": "knowledge.embedders.minilm", "OpenAIEmbedder": "knowledge.embedders.openai"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
