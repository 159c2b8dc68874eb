"""Loaders: one for each content type, each of them linear in time and memory, whatever text it is given."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from knowledge.loaders.html import HtmlLoader
from knowledge.loaders.markdown import MarkdownLoader
from knowledge.loaders.pdf import PdfLoader
from knowledge.loaders.plain import PlainTextLoader
from knowledge.loaders.protocol import Block, Loader
from knowledge.loaders.restructuredtext import ReStructuredTextLoader

LOADERS: Mapping[str, Loader] = MappingProxyType(
    {
        "text/markdown": MarkdownLoader(),
        "text/html": HtmlLoader(),
        "text/plain": PlainTextLoader(),
        "text/x-rst": ReStructuredTextLoader(),
        "application/pdf": PdfLoader(),  # of its text: see knowledge.extraction
    }
)

__all__ = [
    "LOADERS",
    "Block",
    "HtmlLoader",
    "Loader",
    "MarkdownLoader",
    "PdfLoader",
    "PlainTextLoader",
    "ReStructuredTextLoader",
]
