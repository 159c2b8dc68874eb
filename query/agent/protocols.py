"""The roles around an answer, and what they hand to each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, as it was found. `score` orders the passages of one search (larger is better, by meaning
    and words together); `cosine` is its nearness to the question in meaning alone, comparable across searches.
    A `chunk_id` ends in a hyphen and the chunk's number in its document, in reading order.
    """

    chunk_id: str
    document_id: str
    title: str
    source_url: str
    content: str
    score: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a search found, best first. `is_relevant` says whether the question can be answered from it at all.
    `further` are the passages that came after those asked for: what stands beside one of these may be among them.
    """

    passages: Sequence[Passage]
    embed_ms: float
    retrieve_ms: float
    is_relevant: bool
    further: Sequence[Passage] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier question of the thread, in the form that stands on its own, and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Source:
    """A document that an answer may cite as `[number]`, with those of its passages that were found, best first."""

    number: int
    title: str
    source_url: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a model may answer from. `question` stands on its own; `history` is oldest first."""

    question: str
    sources: tuple[Source, ...]
    history: tuple[Exchange, ...] = ()


@dataclass(frozen=True, slots=True)
class RelevantSource:
    """A source as the asker sees it: the document and a short plain extract of what was found in it."""

    title: str
    source_url: str
    snippet: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds. `generate_ms` counts every call of the model, `total_ms` the whole answer."""

    embed_ms: float
    retrieve_ms: float
    generate_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in Markdown. `[n]` outside code always means `relevant_sources[n - 1]`."""

    text: str
    is_uncertain: bool
    relevant_sources: tuple[RelevantSource, ...]
    timings: Timings
    standalone_question: str


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """The first part of an answer that is made in parts: what it may cite. It may yet cite nothing."""

    relevant_sources: tuple[RelevantSource, ...]


@dataclass(frozen=True, slots=True)
class TextWritten:
    """The next piece of an answer's text."""

    text: str


AnswerPart = SourcesFound | TextWritten | Answer


class ChunkSearch(Protocol):
    """Finds chunks in the documents of one project."""

    def hybrid_search(self, embedding: NDArray[np.float32], text: str, k: int) -> Sequence[Passage]:
        """Return the best `k` chunks by meaning and words together, best first. `embedding` has shape (dimension,)."""
        ...


class Retriever(Protocol):
    """Finds what a question can be answered from."""

    def retrieve(self, question: str, top_k: int, *, further_k: int = 0) -> Retrieval:
        """Return up to `top_k` passages, best first, whether they are about the question, and `further_k` more."""
        ...


class LLMClient(Protocol):
    """Writes answers. Implementations are safe to call from several lanes at once; their faults are LLMUnavailable."""

    def generate(self, prompt: Prompt) -> str:
        """Return an answer in Markdown that cites its sources by number, or text with REFUSAL_MARKER when the sources
        do not hold one.
        """
        ...

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        """Return the question such that it can be understood, and searched for, without the conversation."""
        ...


@runtime_checkable
class StreamingLLMClient(LLMClient, Protocol):
    """An LLMClient that tells what it writes while it does."""

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Yield in pieces what `generate` would return, space at its ends aside; closing it ends the call."""
        ...


REFUSAL_MARKER = "NO_ANSWER_IN_SOURCES"
