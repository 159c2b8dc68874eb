"""Cues: words and phrases that hint at a category.

A cue is one or more words; a word may end in `*`, which stands for any ending (`crash*` is in "it crashed"). A cue
occurs in a question when its words do, whole and one after another. Case, punctuation and the kind of apostrophe are
ignored; an apostrophe inside a word belongs to it (`doesn't` is one word).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CUE_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*\*?")


def split_words(text: str) -> list[str]:
    """Return the text's words in lower case, apostrophes made alike."""
    return _WORD.findall(_fold(text))


def count_cues(words: Sequence[str], cues: Sequence[str]) -> int:
    """Return how many of the cues occur among a question's words (as `split_words` gives them), each counted once.

    A cue without any word, such as "?!", occurs nowhere.
    """
    return sum(_occurs(_CUE_WORD.findall(_fold(cue)), words) for cue in cues)


def _fold(text: str) -> str:
    return text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def _occurs(cue_words: Sequence[str], words: Sequence[str]) -> bool:
    if not cue_words:
        return False
    starts = range(len(words) - len(cue_words) + 1)
    return any(
        all(_matches(cue_word, words[start + offset]) for offset, cue_word in enumerate(cue_words)) for start in starts
    )


def _matches(cue_word: str, word: str) -> bool:
    return word.startswith(cue_word[:-1]) if cue_word.endswith("*") else word == cue_word
