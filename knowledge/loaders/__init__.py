"""Loaders: one for each content type, each of them linear in time and memory, whatever it is given."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from knowledge.loaders.html import HtmlLoader
from knowledge.loaders.markdown import MarkdownLoader
from knowledge.loaders.plain import PlainTextLoader
from knowledge.loaders.protocol import Block, Loader
from knowledge.loaders.restructuredtext import ReStructuredTextLoader

LOADERS: Mapping[str, Loader] = MappingProxyType(
    {
        "text/markdown": MarkdownLoader(),
        "text/html": HtmlLoader(),
        "text/plain": PlainTextLoader(),
        "text/x-rst": ReStructuredTextLoader(),
    }
)

__all__ = [
    "LOADERS",
    "Block",
    "HtmlLoader",
    "Loader",
    "MarkdownLoader",
    "PlainTextLoader",
    "ReStructuredTextLoader",
]
