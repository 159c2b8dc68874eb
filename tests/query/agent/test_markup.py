"""What counts as code, as a citation and as a snippet."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.agent.markup import drop_citations, escape_citations, make_snippet, resolve_citations, split_code


@pytest.mark.parametrize(
    ("written", "resolved", "cited"),
    [
        ("Yes [1], no [3].", "Yes [1], no .", {1}),
        ("Both [1, 2] and [1][2].", "Both [1][2] and [1][2].", {1, 2}),
        ("Half [2; 7]", "Half [2]", {2}),
        ("Footnote [^1]", "Footnote [1]", {1}),
        ("Brackets \u30102\u2020source\u3011", "Brackets [2]", {2}),
        ("A link [1](https://evil.test)", "A link [1]", {1}),
        ("Text [2]\n\n[2]: https://evil.test", "Text [2]", {2}),
        ("Zero [0] and huge [9999]", "Zero  and huge", set()),
        ("Escaped \\[1\\]", "Escaped \\[1\\]", set()),
        ("`items[1]` and\n```\nitems[7]\n```\nend [1]", "`items[1]` and\n```\nitems[7]\n```\nend [1]", {1}),
        ("> ```\n> x[5]\n> ```\n> said [2]", "> ```\n> x[5]\n> ```\n> said [2]", {2}),
        ("```\nnever closed [1]", "```\nnever closed [1]", set()),
        ("[link](https://x.test) and [a1]", "[link](https://x.test) and [a1]", set()),
    ],
)
def test_citations_resolve_or_disappear(written: str, resolved: str, cited: set[int]):
    assert resolve_citations(written, 2) == (resolved, cited)


@given(st.text(alphabet="`~[]()123,^\\ >\nab", max_size=200), st.integers(0, 3))
def test_every_citation_left_outside_code_resolves(text: str, count: int):
    resolved, cited = resolve_citations(text, count)
    prose = "".join(part for is_code, part in split_code(resolved) if not is_code)
    # Dropping what stood between may join brackets anew, never with a number that is out of range.
    assert {int(number) for number in re.findall(r"(?<!\\)\[(\d+)\]", prose)} <= set(range(1, count + 1))
    assert cited <= set(range(1, count + 1))


@given(st.text(alphabet="`~> \nab[1]", max_size=200))
def test_splitting_code_from_prose_loses_nothing(text: str):
    assert "".join(part for _, part in split_code(text)) == text


@pytest.mark.parametrize("text", ["`" * 20_000, "[" * 20_000, "[1" * 10_000, "`a" * 10_000, "```\n" * 5_000])
def test_hostile_text_is_read_to_its_end(text: str):
    assert resolve_citations(text, 3)[1] == set()


def test_quoted_brackets_are_no_citations_of_ours():
    quoted = escape_citations("See [1] and `x[2]`.")
    assert quoted == "See \\[1\\] and `x[2]`."
    assert resolve_citations(quoted, 5) == (quoted, set())


def test_an_earlier_answers_citations_are_dropped():
    assert drop_citations("Yes [1][2], `a[1]`.") == "Yes , `a[1]`."


def test_a_snippet_is_one_plain_short_line():
    snippet = make_snippet("## Tasks > Retry\n\nCall `retry`.\n\n```python\nself.retry()\n```\n\n" + "word " * 100)
    assert snippet.startswith("Call retry. self.retry() word")
    assert len(snippet) <= 200
    assert snippet.endswith("word…")


@pytest.mark.parametrize("content", ["", "## Only a heading", "```\n```", "x" * 5_000])
def test_a_snippet_of_anything_is_short(content: str):
    assert len(make_snippet(content)) <= 200
