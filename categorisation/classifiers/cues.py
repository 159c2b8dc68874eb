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
from itertools import chain

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
    possible = chain(index.of_any_first_word, *(index.by_first_word.get(word, ()) for word in set(words)))
    return sum(pattern.search(line) is not None for pattern in possible)


@dataclass(frozen=True, slots=True)
class _CueIndex:
    """A list of cues, each as a pattern, by its first word: few of a hundred can occur in a question."""

    by_first_word: dict[str, list[re.Pattern[str]]]
    of_any_first_word: list[re.Pattern[str]]


@lru_cache(maxsize=_COMPILED_LISTS)
def _index(cues: tuple[str, ...]) -> _CueIndex:
    by_first_word: dict[str, list[re.Pattern[str]]] = {}
    of_any_first_word: list[re.Pattern[str]] = []
    for words in filter(None, map(_CUE_WORD.findall, map(_fold, cues))):
        alike = of_any_first_word if words[0].endswith("*") else by_first_word.setdefault(words[0], [])
        alike.append(_compile(words))
    return _CueIndex(by_first_word, of_any_first_word)


def _fold(text: str) -> str:
    return text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def _compile(words: Sequence[str]) -> re.Pattern[str]:
    """A cue as a pattern over words with a space on each side; nothing in a cue is a pattern of its own."""
    return re.compile(f" {' '.join(word.replace('*', '[^ ]*') for word in words)} ")
