"""The agent: retrieval, the model's clients, and a question's way through them. Imports neither Django nor Celery.

OpenAILLM stays in its module: the SDK takes half a second to import, which only its users should pay.
"""

from __future__ import annotations

from query.agent.protocols import (
    REFUSAL_MARKER,
    Answer,
    AnswerPart,
    ChunkSearch,
    Exchange,
    LLMClient,
    Passage,
    Prompt,
    RelevantSource,
    Retrieval,
    Retriever,
    Source,
    SourcesFound,
    StreamingLLMClient,
    TextWritten,
    Timings,
)
from query.agent.quoting import QuotingLLM
from query.agent.rag_agent import UNKNOWN_ANSWER, PreparedAnswer, RAGAgent
from query.agent.retriever import HybridRetriever

__all__ = [
    "REFUSAL_MARKER",
    "UNKNOWN_ANSWER",
    "Answer",
    "AnswerPart",
    "ChunkSearch",
    "Exchange",
    "HybridRetriever",
    "LLMClient",
    "Passage",
    "PreparedAnswer",
    "Prompt",
    "QuotingLLM",
    "RAGAgent",
    "RelevantSource",
    "Retrieval",
    "Retriever",
    "Source",
    "SourcesFound",
    "StreamingLLMClient",
    "TextWritten",
    "Timings",
]
