"""Which section answers a question best, as far as that can be told without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from query.agent.markup import read_heading
from query.agent.protocols import Passage, Source
from query.agent.words import content_stems, share_held, weigh_words

# A section's rank: nearness in meaning; the shares (0..1) of the question's words, names before all, that it holds,
# that its title and headings hold, which say what it is about where others only mention it, and that its own heading
# holds, the last one, which says what it is about within its chapter; and its search score as a share of the best.
# Tuned on 42 questions to one documentation and checked on 77 others; neighbouring weights do equally well.
_WORDS_WEIGHT = 0.2
_HEADINGS_WEIGHT = 0.25
_OWN_HEADING_WEIGHT = 0.1
_SEARCH_WEIGHT = 0.75
# Who asks how something is done wants to see it done.
_CODE_BONUS = 0.1
# What is told of past versions may hold no more, and a guide says it better.
_HISTORY_COST = 0.3
# The definition of a setting says what there is, not how it is used.
_SETTING_COST = 0.05

_ASKS_HOW = re.compile(r"\s*(?:and\s+|so\s+|but\s+)?how\s+(?:do|can|could|should|would|to|does)\b", re.IGNORECASE)
_HISTORY = re.compile(
    r"\b(?:change\s?log|changes?\s+(?:in|log|notes)|what['\u2019]?s\s+new|release\s+notes|history)\b",
    re.IGNORECASE,
)
_ASKS_FOR_HISTORY = re.compile(
    r"\b(?:versions?|releases?d?|news|what(?:['\u2019]s|\s+is)\s+new|changes|changed|changelog|history|since"
    r"|upgrad(?:e|es|ing)|deprecated|removed|added)\b|\b\d+\.\d+",
    re.IGNORECASE,
)
_SETTING = re.compile(r"^Default:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A section that may be quoted, and how well it fits."""

    rank: float
    source: Source
    passage: Passage


def rank_sections(question: str, sources: Sequence[Source]) -> list[Candidate]:
    """Return the sections of all sources, the one that fits the question best first."""
    candidates = [(source, passage) for source in sources for passage in source.passages]
    best_score = max((passage.score for _, passage in candidates), default=0.0)
    ranked = (Candidate(_rank(question, passage, best_score), source, passage) for source, passage in candidates)
    return sorted(ranked, key=lambda candidate: candidate.rank, reverse=True)


def _rank(question: str, passage: Passage, best_score: float) -> float:
    asked = weigh_words(question)
    heading = read_heading(passage.content) or passage.title
    about = content_stems(passage.title) | content_stems(heading)
    own = content_stems(read_own_heading(heading))
    mentioned = about | content_stems(passage.content)
    words = (
        _WORDS_WEIGHT * share_held(asked, mentioned)
        + _HEADINGS_WEIGHT * share_held(asked, about)
        + _OWN_HEADING_WEIGHT * share_held(asked, own)
    )
    place = passage.score / best_score if best_score > 0 else 0.0
    return passage.cosine + words + _SEARCH_WEIGHT * place + _judge_kind(question, passage)


def _judge_kind(question: str, passage: Passage) -> float:
    """What speaks for and against a section because of what kind of text it is."""
    worth = 0.0
    if _HISTORY.search(passage.title) and not _ASKS_FOR_HISTORY.search(question):
        worth -= _HISTORY_COST
    if _ASKS_HOW.match(question):
        worth += _CODE_BONUS * ("\n```" in passage.content)
        worth -= _SETTING_COST * (_SETTING.search(passage.content) is not None)
    return worth


def read_own_heading(heading: str) -> str:
    """Return the last of the headings that a passage stands under."""
    return heading.rsplit(" > ", 1)[-1]
