"""The agent: retrieval, the model's clients, and a question's way through them. Imports neither Django nor Celery."""

from __future__ import annotations

from query.agent.openai import OpenAILLM
from query.agent.protocols import (
    REFUSAL_MARKER,
    Answer,
    ChunkSearch,
    Exchange,
    LLMClient,
    Passage,
    Prompt,
    RelevantSource,
    Retrieval,
    Retriever,
    Source,
    Timings,
)
from query.agent.quoting import QuotingLLM
from query.agent.rag_agent import UNKNOWN_ANSWER, PreparedAnswer, RAGAgent
from query.agent.retriever import HybridRetriever

__all__ = [
    "REFUSAL_MARKER",
    "UNKNOWN_ANSWER",
    "Answer",
    "ChunkSearch",
    "Exchange",
    "HybridRetriever",
    "LLMClient",
    "OpenAILLM",
    "Passage",
    "PreparedAnswer",
    "Prompt",
    "QuotingLLM",
    "RAGAgent",
    "RelevantSource",
    "Retrieval",
    "Retriever",
    "Source",
    "Timings",
]
