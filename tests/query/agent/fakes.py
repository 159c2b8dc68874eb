"""Stand-ins for the agent's parts, which satisfy their protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from query.agent import Exchange, Passage, Prompt, Retrieval, Source


def passage(
    content: str = "Set max_retries.",
    *,
    document_id: str = "a",
    chunk_id: str = "",
    title: str = "Retries",
    source_url: str = "https://docs.test/retries",
    score: float = 0.03,
    cosine: float = 0.8,
) -> Passage:
    return Passage(chunk_id or f"{document_id}-1", document_id, title, source_url, content, score, cosine)


def prompt(question: str, *passages: Passage, history: Sequence[Exchange] = ()) -> Prompt:
    """A prompt with one source for each passage."""
    sources = (Source(n, found.title, found.source_url, (found,)) for n, found in enumerate(passages, start=1))
    return Prompt(question, tuple(sources), tuple(history))


@dataclass
class FakeRetriever:
    passages: Sequence[Passage] = ()
    is_relevant: bool = True
    asked: list[str] = field(default_factory=list)

    def retrieve(self, question: str, top_k: int, *, further_k: int = 0) -> Retrieval:
        self.asked.append(question)
        return Retrieval(
            tuple(self.passages[:top_k]),
            embed_ms=1.5,
            retrieve_ms=2.5,
            is_relevant=self.is_relevant,
            further=tuple(self.passages[top_k : top_k + further_k]),
        )


@dataclass
class FakeLLM:
    write: Callable[[Prompt], str] = lambda prompt: "Yes [1]."
    rewritten: str = "rewritten"
    prompts: list[Prompt] = field(default_factory=list)
    rewrites: list[str] = field(default_factory=list)

    def generate(self, prompt: Prompt) -> str:
        self.prompts.append(prompt)
        return self.write(prompt)

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        self.rewrites.append(question)
        return self.rewritten


@dataclass
class FakeSearch:
    passages: Sequence[Passage] = ()
    calls: list[tuple[str, int]] = field(default_factory=list)

    def hybrid_search(self, embedding: NDArray[np.float32], text: str, k: int) -> Sequence[Passage]:
        assert embedding.shape == (2,)
        self.calls.append((text, k))
        return self.passages[:k]


class FakeEmbedder:
    fingerprint = "fake"
    dimension = 2
    relevance_threshold = 0.5

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.tile(np.array([1, 0], dtype=np.float32), (len(texts), 1))

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.array([1, 0], dtype=np.float32)
