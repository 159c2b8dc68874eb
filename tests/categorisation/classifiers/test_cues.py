from __future__ import annotations

import pytest

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
