"""Retrieval by meaning and words, and the judgement whether what was found is about the question."""

from __future__ import annotations

import time
from collections.abc import Sequence

from knowledge.embedders import Embedder
from query.agent.protocols import ChunkSearch, Passage, Retrieval
from query.agent.words import content_stems, content_words, is_name, stems_of_word

# A name ("Dramatiq") that no passage mentions says more against them than a common word ("topology").
_NAME_WEIGHT = 3.0
_WORD_WEIGHT = 1.0
# How far the threshold rises, of the way to 1, when none of the question's words occurs in any passage.
_MISSING_WORDS_RISE = 0.5


class HybridRetriever:
    """Embeds the question, searches by meaning and words, and judges relevance.

    Args:
        embedder: makes the question's vector; its `relevance_threshold` is the least best cosine that counts.
        search: finds chunks.
        relevance_threshold: takes the place of the embedder's own.
    """

    def __init__(self, embedder: Embedder, search: ChunkSearch, *, relevance_threshold: float | None = None) -> None:
        self._embedder = embedder
        self._search = search
        self._threshold = embedder.relevance_threshold if relevance_threshold is None else relevance_threshold

    def retrieve(self, question: str, top_k: int) -> Retrieval:
        started = time.perf_counter()
        embedding = self._embedder.embed_query(question)
        embedded = time.perf_counter()
        passages = tuple(self._search.hybrid_search(embedding, question, top_k))
        found = time.perf_counter()
        best_cosine = max((passage.cosine for passage in passages), default=-1.0)
        return Retrieval(
            passages=passages,
            embed_ms=round((embedded - started) * 1000, 1),
            retrieve_ms=round((found - embedded) * 1000, 1),
            is_relevant=best_cosine >= required_cosine(question, passages, self._threshold),
        )


def required_cosine(question: str, passages: Sequence[Passage], threshold: float) -> float:
    """Return the best cosine that the passages must reach to count as being about the question.

    It is the embedder's threshold when every content word of the question occurs in some passage (by stem, titles
    included). Words that occur in none raise it, in proportion to their share of the question's weight: a question
    about a neighbour of the documents' subject comes near them in meaning, but names what they never mention.
    """
    share = missing_share(question, passages)
    return threshold + (1.0 - threshold) * _MISSING_WORDS_RISE * share


def missing_share(question: str, passages: Sequence[Passage]) -> float:
    """Return the weight of the question's content words that no passage holds, as a share (0..1) of all of them."""
    mentioned: set[str] = set()
    for passage in passages:
        mentioned |= content_stems(passage.title) | content_stems(passage.content)
    first = question.split(maxsplit=1)[0].strip("\"'(*`") if question.split() else ""
    total = missing = 0.0
    for position, word in enumerate(dict.fromkeys(content_words(question))):
        stems = stems_of_word(word)
        if not stems:
            continue
        weight = _NAME_WEIGHT if is_name(word, is_first=position == 0 and word == first) else _WORD_WEIGHT
        total += weight
        missing += weight * len(stems - mentioned) / len(stems)
    return missing / total if total else 0.0
