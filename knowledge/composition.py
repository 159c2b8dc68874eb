"""The one place of this room that reads the settings and puts its parts together.

Parts are made on first use and once per process. A forked child makes its own: a model's lanes and a client's
connections do not survive a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from pydantic import SecretStr

from knowledge import embedders
from knowledge.embedders import Embedder
from knowledge.embedders.choice import Embedders
from knowledge.errors import DocumentUnreadable
from knowledge.extraction import Extractor, PdfExtractor
from knowledge.indexing import Indexer
from knowledge.loaders import LOADERS, Loader
from knowledge.models import ContentType
from knowledge.reindexing import Reindexer
from knowledge.splitter import HeadingSplitter, Splitter
from knowledge.vector_store import VectordbStore, VectorStore


@cache
def vector_store() -> VectorStore:
    """Where chunks are kept: `VECTORDB_URL`."""
    environment = settings.ENVIRONMENT
    key = environment.vectordb_api_key
    return VectordbStore(
        environment.vectordb_url,
        api_key=key.get_secret_value() if key else None,
        timeout_s=environment.vectordb_timeout_s,
    )


@cache
def embedder() -> Embedder:
    """What turns texts into vectors, as `EMBEDDER` names it. The local model is loaded by the first embedding."""
    environment = settings.ENVIRONMENT
    return _make_embedder(
        environment.embedder,
        environment.embedder_base_url,
        environment.embedder_model,
        environment.embedder_api_key,
    )


@cache
def embedders_in_use() -> Embedders:
    """That one, and `PREVIOUS_EMBEDDER`, which serves libraries that it filled until they are indexed anew."""
    environment = settings.ENVIRONMENT
    if environment.previous_embedder is None:
        return Embedders(embedder())
    previous = _make_embedder(
        environment.previous_embedder,
        environment.previous_embedder_base_url,
        environment.previous_embedder_model,
        environment.previous_embedder_api_key,
    )
    return Embedders(embedder(), previous)


def _make_embedder(name: str, base_url: str | None, model: str | None, api_key: SecretStr | None) -> Embedder:
    match name:
        case "minilm":
            return embedders.MiniLMEmbedder()
        case "openai":
            return embedders.OpenAIEmbedder(
                base_url=base_url or "",
                model=model or "",
                api_key=api_key.get_secret_value() if api_key else "",
                timeout_s=settings.ENVIRONMENT.embedder_timeout_s,
            )
        case dotted:
            made: Embedder = import_string(dotted)()
            return made


@cache
def splitter() -> Splitter:
    """What cuts documents into pieces, as `SPLITTER` names it."""
    name = settings.ENVIRONMENT.splitter
    if name == "headings":
        return HeadingSplitter()
    made: Splitter = import_string(name)()
    return made


def loader_for(content_type: str) -> Loader:
    """What reads this content type: `LOADERS` may name another than the built-in one. Raises DocumentUnreadable."""
    try:
        return _loaders()[content_type]
    except KeyError as exc:
        raise DocumentUnreadable(f"Documents of type {content_type} cannot be read.", attr="content_type") from exc


def extractor_for(content_type: str) -> Extractor:
    """What takes the text out of files of this type. Raises DocumentUnreadable."""
    if content_type != ContentType.PDF:
        raise DocumentUnreadable(f"Files of type {content_type} cannot be read.", attr="content_type")
    return PdfExtractor(max_text_bytes=settings.MAX_DOCUMENT_SIZE_BYTES)


@cache
def indexer() -> Indexer:
    """What indexes and erases documents."""
    return Indexer(
        store=vector_store(),
        embedders=embedders_in_use(),
        splitter=splitter(),
        loader_for=loader_for,
        extractor_for=extractor_for,
    )


@cache
def reindexer() -> Reindexer:
    """What indexes all documents of a project anew."""
    return Reindexer(store=vector_store(), embedders=embedders_in_use(), indexer=indexer())


@cache
def _loaders() -> dict[str, Loader]:
    named = {content_type: import_string(dotted)() for content_type, dotted in settings.ENVIRONMENT.loaders.items()}
    return {**LOADERS, **named}


def warm_up() -> None:
    """Load what the first embedding would otherwise wait for: the local model, where there is one."""
    part = embedder()
    if isinstance(part, embedders.MiniLMEmbedder):
        part.load()


_PARTS: tuple[Any, ...] = (vector_store, embedder, embedders_in_use, splitter, indexer, reindexer, _loaders)


def forget_parts() -> None:
    """Make every part anew on its next use."""
    for part in _PARTS:
        clear: Callable[[], None] = part.cache_clear
        clear()


os.register_at_fork(after_in_child=forget_parts)
