from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from categorisation.classifiers.cues import count_cues, split_words


@pytest.mark.parametrize(
    ("question", "cue", "occurs"),
    [
        ("It CRASHED!", "crash*", True),
        ("It crashed", "crash", False),
        ("A crash", "crash*", True),
        ("How do I start?", "how do", True),
        ("How, do I start?", "how do", True),
        ("How I do", "how do", False),
        ("somehow do it", "how do", False),
        ("It doesn\N{RIGHT SINGLE QUOTATION MARK}t start", "doesn't", True),
        ("It doesn't start", "doesn\N{RIGHT SINGLE QUOTATION MARK}t", True),
        ("it stopped all working", "stop* working", False),
        ("it stopped working", "stop* working", True),
        ("how", "how do", False),
        ("snake_case and-dashes", "case and dashes", True),
        ("Straße", "STRASSE", True),
        ("läuft nicht", "nicht", True),
        ("動かない error", "動かない", True),
        ("what?!", "?!", False),
        ("anything", "", False),
        ("anything", "*", False),
        ("a (b|c)", "(b|c)", True),
        ("", "word", False),
    ],
)
def test_a_cue_occurs_when_its_words_do_one_after_another(question: str, cue: str, occurs: bool) -> None:
    assert count_cues(split_words(question), [cue]) == occurs


def test_a_cue_that_occurs_twice_counts_once() -> None:
    assert count_cues(split_words("error after error, and a crash"), ["error*", "crash*", "leak*"]) == 2


cue_words = st.sampled_from(["run", "runs", "run*", "won't", "a", "the*", "?!", "is run"])
cue_lists = st.lists(st.lists(cue_words, min_size=1, max_size=3).map(" ".join), max_size=8)


@given(st.lists(st.sampled_from(["run", "runs", "running", "won't", "a", "then", "is"]), max_size=8), cue_lists)
def test_many_cues_are_found_as_each_alone_would_be(words: list[str], cues: list[str]):
    assert count_cues(words, cues) == sum(_occurs(cue, words) for cue in cues)


def _occurs(cue: str, words: list[str]) -> bool:
    """Word by word, without patterns or an index."""
    wanted = [part for part in cue.split() if part != "?!"]
    stretches = (words[start : start + len(wanted)] for start in range(len(words) - len(wanted) + 1))
    return bool(wanted) and any(all(map(_matches, wanted, stretch)) for stretch in stretches)


def _matches(wanted: str, word: str) -> bool:
    return word.startswith(wanted[:-1]) if wanted.endswith("*") else word == wanted
