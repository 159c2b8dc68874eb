"""Retrieval by meaning and words, and the judgement whether what was found is about the question."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from knowledge.embedders import Embedder
from query.agent.markup import read_heading
from query.agent.protocols import ChunkSearch, Passage, Retrieval
from query.agent.words import content_stems, share_held, weigh_words

# How far the threshold rises, of the way to 1, when no passage mentions any word of the question.
_MISSING_WORDS_RISE = 0.6
# How far it falls, of the way to 0, for a passage that holds every word of the question.
_HELD_WORDS_FALL = 0.4
# How much farther for one whose title and headings hold them too: where others mention a thing, it is about it.
_HEADING_WORDS_FALL = 0.1
# With this share of the words missing everywhere, the words that a passage does hold no longer speak for it.
_TOLERATED_MISSING_SHARE = 0.25


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

    def retrieve(self, question: str, top_k: int, *, further_k: int = 0) -> Retrieval:
        started = time.perf_counter()
        embedding = self._embedder.embed_query(question)
        embedded = time.perf_counter()
        ranked = tuple(self._search.hybrid_search(embedding, question, top_k + further_k))
        found = time.perf_counter()
        passages = ranked[:top_k]
        return Retrieval(
            passages=passages,
            further=ranked[top_k:],
            embed_ms=round((embedded - started) * 1000, 1),
            retrieve_ms=round((found - embedded) * 1000, 1),
            is_relevant=judge_relevance(question, passages, self._threshold).is_relevant,
        )


@dataclass(frozen=True, slots=True)
class Relevance:
    """How a question and its passages fit. The passages are about it when `cosine >= required_cosine`, which are those
    of the passage that fits best; `missing_share` of the question's words (by weight) is in no passage at all.
    """

    cosine: float
    required_cosine: float
    missing_share: float

    @property
    def is_relevant(self) -> bool:
        return self.cosine >= self.required_cosine


def judge_relevance(question: str, passages: Sequence[Passage], threshold: float) -> Relevance:
    """Judge by meaning and words together whether any passage is about the question.

    Meaning alone errs on both sides. A question about a neighbour of the documents' subject ("migrate from RQ to
    Celery") comes near them, but names what they never mention; a short one in the documents' own jargon ("a chord and
    a group") stays far from everything, although a passage holds each of its words. So a passage must reach, in cosine,

        threshold * (1 - (0.4 + 0.1 * headed) * held * max(0, 1 - missing / 0.25)) + (1 - threshold) * 0.6 * missing

    where `missing` is the weighted share (0..1) of the question's content words that occur in none of the passages, by
    stem and with titles, names counting three times; `held` is 0 for a passage with half of the words or fewer and
    rises to 1 for one with all of them; `headed` is the share of them that stands in its title and headings, which say
    what it is about. Only the passages are looked at: the search by words has brought up those that mention a rare
    word, if there are any.
    """
    weights = weigh_words(question)
    texts = [content_stems(passage.title) | content_stems(passage.content) for passage in passages]
    missing = 1.0 - share_held(weights, set().union(*texts)) if weights else 0.0
    trust = max(0.0, 1.0 - missing / _TOLERATED_MISSING_SHARE)
    best = Relevance(-1.0, threshold, missing)
    for passage, stems in zip(passages, texts, strict=True):
        held = max(0.0, 2.0 * share_held(weights, stems) - 1.0)
        headed = share_held(weights, content_stems(passage.title) | content_stems(read_heading(passage.content)))
        fall = (_HELD_WORDS_FALL + _HEADING_WORDS_FALL * headed) * held * trust
        required = threshold * (1.0 - fall) + (1.0 - threshold) * _MISSING_WORDS_RISE * missing
        if passage.cosine - required > best.cosine - best.required_cosine:
            best = Relevance(passage.cosine, required, missing)
    return best
