"""The one place of this room that reads the settings and puts its parts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from django.utils.module_loading import import_string
from numpy.typing import NDArray

import knowledge.composition
import knowledge.selectors
from knowledge.connections import release_connection
from knowledge.errors import LibraryReplaced
from knowledge.selectors import SearchPlace
from query.agent import HybridRetriever, LLMClient, Passage, QuotingLLM, RAGAgent, Retrieval, Retriever


@dataclass(frozen=True, slots=True)
class ProjectChunks:
    """What a Retriever searches in: the chunks of one project's documents."""

    place: SearchPlace
    filters: dict[str, Any] | None = None

    def hybrid_search(self, embedding: NDArray[np.float32], text: str, k: int) -> Sequence[Passage]:
        found = knowledge.selectors.search_passages(
            self.place, embedding=embedding, text=text, k=k, filters=self.filters
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


@dataclass(frozen=True, slots=True)
class ProjectRetriever:
    """Retrieves from whichever library is the project's when it is asked, with the embedder that filled it."""

    project_id: UUID
    filters: dict[str, Any] | None = None

    def retrieve(self, question: str, top_k: int, *, further_k: int = 0) -> Retrieval:
        try:
            return self._retrieve(question, top_k, further_k)
        except LibraryReplaced:  # between the two steps; it takes hours until the next time
            return self._retrieve(question, top_k, further_k)

    def _retrieve(self, question: str, top_k: int, further_k: int) -> Retrieval:
        place = knowledge.selectors.find_place(self.project_id)
        is_current = place.embedder is knowledge.composition.embedder()
        retriever = HybridRetriever(
            place.embedder,
            ProjectChunks(place, self.filters),
            # what an operator sets is for the embedder of now
            relevance_threshold=settings.ENVIRONMENT.relevance_threshold if is_current else None,
        )
        release_connection()
        return retriever.retrieve(question, top_k, further_k=further_k)


def agent_for(project_id: UUID) -> RAGAgent:
    """The agent that answers from the project's documents."""
    return RAGAgent(
        retriever_for(project_id),
        llm(),
        top_k=settings.ENVIRONMENT.retrieval_top_k,
        before_wait=release_connection,
    )


def retriever_for(project_id: UUID, filters: dict[str, Any] | None = None) -> Retriever:
    """What finds the passages that answers of the project are drawn from."""
    return ProjectRetriever(project_id, filters)


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
