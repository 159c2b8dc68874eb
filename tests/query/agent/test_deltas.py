"""What is shown of an answer while it is written."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from query.agent.deltas import DeltaWriter
from query.agent.inert import make_inert
from query.agent.markup import resolve_citations
from query.agent.protocols import REFUSAL_MARKER


def clean(text: str, source_count: int = 2) -> tuple[str, set[int]]:
    return resolve_citations(make_inert(text, is_known), source_count)


def is_known(address: str) -> bool:
    return address.startswith("http://x")


def show(pieces: list[str], source_count: int = 2) -> tuple[list[str], DeltaWriter]:
    writer = DeltaWriter(lambda text: clean(text, source_count))
    return [shown for piece in pieces if (shown := writer.feed(piece))], writer


def in_pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


brackets = ["[1,", " 2]", "[", "1", "]", "(", "http://x y", ")", "[2]: ", "\u3010", "\u2020source", "\u3011", "^", ";"]
lines = ["\n", " ", "\r\n", "`", "```\n", "> ", "~~~\n", "\\"]
markup = ["<", "<b>", "<!--", "!", "![", "](", "](http://x)", "](http://y)", "]:", "a]: b"]
parts = st.sampled_from([*brackets, *lines, *markup, "Yes [1] ", "no [3], ", "word ", "a sentence of words "])
answers = st.lists(parts, max_size=40).map("".join)


@given(answers, st.integers(1, 20))
@example("[1,\n[2]: x\n3] and more words here ", 1)
@example("> [1]: gone away for good\nYes [1] it is so, I think", 3)
@example("Yes [1](http://a b c d e f g h i j k l m n) and so on", 1)
@settings(max_examples=1_000)
def test_what_was_shown_is_the_beginning_of_the_answer(answer: str, size: int):
    shown, writer = show(in_pieces("Yes [1] indeed it is.\n" + answer, size))
    whole, _ = clean("Yes [1] indeed it is.\n" + answer)
    if whole.startswith("".join(shown)):
        assert "".join(shown) + writer.finish(whole) == whole
    else:  # what seemed to be code turned out to be none
        assert {"`", "~"} & set(answer)
        assert writer.finish(whole) == ""


@given(answers, st.integers(1, 20))
@example("[1,```\n> ```\n![http://x y](http://x)", 1)
@settings(max_examples=200)
def test_nothing_that_was_shown_ever_acts(answer: str, size: int):
    shown, _ = show(in_pieces("Yes [1] indeed it is.\n" + answer, size))
    for count in range(len(shown)):
        assert is_inert("".join(shown[: count + 1]))


def is_inert(text: str) -> bool:
    tokens = [each for token in MarkdownIt("commonmark").parse(text) for each in (token, *(token.children or ()))]
    acting = [each for each in tokens if each.type in ("html_block", "html_inline", "image")]
    links = [str(each.attrGet("href")) for each in tokens if each.type == "link_open"]
    return not acting and all(map(is_known, links))


def test_words_are_shown_as_they_come():
    text = "It runs [1]. " + "And then some more words of it. " * 20
    shown, _ = show(in_pieces(text, 5))
    assert len(shown) > 20
    assert len(text) - len("".join(shown)) < 30


def test_long_answers_are_shown_in_larger_parts():
    text = "It runs [1]. " + "And then some more words of it. " * 600
    shown, _ = show(in_pieces(text, 5))
    assert len(shown) < 600
    assert max(map(len, shown)) < 300


def test_nothing_is_shown_before_a_citation_that_resolves():
    shown, writer = show(in_pieces("The model says so. And [7] says so, too. ", 4))
    assert shown == []
    assert writer.feed("But here it stands [2], at last, you see. ").startswith("The model says so. And  says")


def test_nothing_is_shown_after_a_refusal():
    shown, writer = show(["It may be [1], or it may not be so. ", REFUSAL_MARKER, " more and more words [2] here. "])
    assert shown == ["It may be [1], or it may not be so."]
    assert writer.finish("I don't know.") == ""


@pytest.mark.parametrize("text", ["[1" * 5_000, "a " * 5_000, "[1] " * 2_000 + "\n" * 2_000, "`" * 10_000])
def test_hostile_text_is_read_to_its_end(text: str):
    _, writer = show(in_pieces("Yes [1].\n" + text, 50))
    assert writer.written.endswith(text)
