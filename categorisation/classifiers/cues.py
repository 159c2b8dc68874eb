"""Cues: words and phrases that hint at a category.

A cue is one or more words; a word may end in `*`, which stands for any ending (`crash*` is in "it crashed"). A cue
occurs in a question when its words do, whole and one after another. Case, punctuation and the kind of apostrophe are
ignored; an apostrophe inside a word belongs to it (`doesn't` is one word).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CUE_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*\*?")
_COMPILED_LISTS = 1_000


def split_words(text: str) -> list[str]:
    """Return the text's words in lower case, apostrophes made alike."""
    return _WORD.findall(_fold(text))


def count_cues(words: Sequence[str], cues: Sequence[str]) -> int:
    """Return how many of the cues occur among a question's words (as `split_words` gives them), each counted once.

    A cue without any word, such as "?!", occurs nowhere.
    """
    index = _index(tuple(cues))
    line = f" {' '.join(words)} "
    possible = {cue for word in words for cue in index.by_first_word.get(word, ())} | index.of_any_first_word
    return sum(index.patterns[cue].search(line) is not None for cue in possible)


@dataclass(frozen=True, slots=True)
class _CueIndex:
    """A list of cues by the word that each begins with: few of a hundred can occur in a question."""

    patterns: list[re.Pattern[str]]
    by_first_word: dict[str, list[int]]
    of_any_first_word: frozenset[int]


@lru_cache(maxsize=_COMPILED_LISTS)
def _index(cues: tuple[str, ...]) -> _CueIndex:
    by_first_word: dict[str, list[int]] = {}
    of_any: set[int] = set()
    for number, cue in enumerate(cues):
        first = next(iter(_CUE_WORD.findall(_fold(cue))), None)
        if first is None:
            continue
        if first.endswith("*"):
            of_any.add(number)
        else:
            by_first_word.setdefault(first, []).append(number)
    return _CueIndex([_compile(cue) for cue in cues], by_first_word, frozenset(of_any))


def _fold(text: str) -> str:
    return text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def _compile(cue: str) -> re.Pattern[str]:
    """The cue as a pattern over words with a space on each side; nothing in a cue is a pattern of its own."""
    words = [word.replace("*", "[^ ]*") for word in _CUE_WORD.findall(_fold(cue))]
    return re.compile(f" {' '.join(words)} " if words else r"(?!)")
