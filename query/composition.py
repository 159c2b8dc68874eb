"""The one place of this room that reads the settings and puts its parts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string
from numpy.typing import NDArray

import knowledge.composition
import knowledge.selectors
from query.agent import HybridRetriever, LLMClient, Passage, QuotingLLM, RAGAgent


@dataclass(frozen=True, slots=True)
class ProjectChunks:
    """What a Retriever searches in: the chunks of one project's documents."""

    project_id: UUID
    filters: dict[str, Any] | None = None

    def hybrid_search(self, embedding: NDArray[np.float32], text: str, k: int) -> Sequence[Passage]:
        found = knowledge.selectors.search_passages(
            self.project_id, embedding=embedding, text=text, k=k, filters=self.filters
        )
        return [
            Passage(
                chunk_id=passage.chunk_id,
                document_id=passage.document_id,
                title=passage.title,
                source_url=passage.source_url,
                content=passage.content,
                score=passage.score,
                cosine=passage.cosine,
            )
            for passage in found
        ]


def agent_for(project_id: UUID) -> RAGAgent:
    """The agent that answers from the project's documents."""
    environment = settings.ENVIRONMENT
    waits = environment.llm != "quoting"
    return RAGAgent(
        retriever_for(project_id),
        llm(),
        top_k=environment.retrieval_top_k,
        before_wait=_release_connection if waits else lambda: None,
    )


def _release_connection() -> None:
    """Hold none of the database's connections, which are few, for the minute that a model may take."""
    if not connection.in_atomic_block:
        connection.close()


def retriever_for(project_id: UUID, filters: dict[str, Any] | None = None) -> HybridRetriever:
    return HybridRetriever(
        knowledge.composition.embedder(),
        ProjectChunks(project_id, filters),
        relevance_threshold=settings.ENVIRONMENT.relevance_threshold,
    )


@cache
def llm() -> LLMClient:
    """The model that writes answers, as `LLM` names it."""
    environment = settings.ENVIRONMENT
    match environment.llm:
        case "quoting":
            return QuotingLLM()
        case "openai":
            from query.agent.openai import OpenAILLM

            return OpenAILLM(
                base_url=environment.llm_base_url or "",
                model=environment.llm_model or "",
                api_key=environment.llm_api_key.get_secret_value() if environment.llm_api_key else "",
                timeout_s=environment.llm_timeout_s,
            )
        case dotted:
            client: LLMClient = import_string(dotted)()
            return client
