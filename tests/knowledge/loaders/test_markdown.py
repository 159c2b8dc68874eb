"""What the Markdown loader keeps, and what it makes of hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from knowledge.errors import DocumentUnreadable
from knowledge.loaders import Block, MarkdownLoader

loader = MarkdownLoader()


def test_headings_paragraphs_and_code_become_blocks_in_reading_order():
    blocks = loader.load("# Title\n\nSome *text*.\n\nSub\n---\n\n```python\n# no heading\nx = 1\n```\n")
    assert blocks == [
        Block("heading", "Title", 1),
        Block("text", "Some *text*."),
        Block("heading", "Sub", 2),
        Block("code", "# no heading\nx = 1", language="python"),
    ]


def test_a_list_is_one_block_with_its_nesting():
    blocks = loader.load("- one\n- two\n  - deeper\n\n1. first\n2. second\n")
    assert blocks == [Block("text", "- one\n- two\n  - deeper"), Block("text", "1. first\n2. second")]


def test_code_inside_a_list_stays_code():
    blocks = loader.load("1. Run:\n\n   ```sh\n   make run\n   ```\n\n2. Wait.\n")
    assert blocks == [Block("text", "1. Run:"), Block("code", "make run", language="sh"), Block("text", "2. Wait.")]


def test_indented_code_and_tilde_fences_are_code():
    blocks = loader.load("Text\n\n    indented = 1\n\n~~~\n# tilde\n~~~\n")
    assert [block.text for block in blocks if block.kind == "code"] == ["indented = 1", "# tilde"]


def test_a_table_stays_a_block_of_lines():
    assert loader.load("| a | b |\n|---|---|\n| 1 | 2 |\n") == [Block("text", "| a | b |\n|---|---|\n| 1 | 2 |")]


def test_relative_links_and_pictures_are_reduced_and_whole_addresses_kept():
    (block,) = loader.load("See [the guide](../guide.md), [home](https://example.org) ![logo](x.png) `[a](b)`.")
    assert block.text == "See the guide, [home](https://example.org) logo `[a](b)`."


def test_html_in_markdown_is_read_as_html():
    blocks = loader.load("<!-- hidden -->\n\n<p align=center><b>Shown</b></p>\n\nPress <kbd>Esc</kbd>.\n")
    assert [block.text for block in blocks] == ["Shown", "Press Esc."]


def test_front_matter_and_link_definitions_are_left_out():
    blocks = loader.load("---\ntitle: x\n---\n# H\n\nBody.\n\n[ref]: https://example.org\n")
    assert [block.text for block in blocks] == ["H", "Body."]


@pytest.mark.parametrize("content", ["", "   \n\n", "<!-- only a comment -->", "```\n```"])
def test_a_document_without_text_is_refused(content: str):
    with pytest.raises(DocumentUnreadable, match="no text"):
        loader.load(content)


def test_a_document_of_many_windows_reads_like_its_parts():
    part = "# Heading\n\nText of the part.\n\n```\n\n# in code\n\nmore\n```\n\n- item\n\n  after a gap\n\n"
    assert loader.load(part * 700) == loader.load(part) * 700


@pytest.mark.parametrize(
    "content",
    [
        "word " * 400_000,
        "# h\n\n" * 40_000,
        "> " * 50_000 + "x\n\nafter",
        "before\n\n" + "- " * 50_000 + "x",
        "[a]: b\n" * 40_000 + "\nafter",
        "[" * 500_000 + "`" * 500_000,
        "```\n" + "x" * 1_000_000,
    ],
    ids=["one line", "headings", "quotations", "lists", "definitions", "brackets", "open fence"],
)
def test_hostile_input_is_read_to_its_end(content: str):
    assert loader.load(content)


@given(
    st.lists(
        st.sampled_from(["# A", "text", "```", "~~~", "- item", "  more", "    code", "", "", "> q", "1. n"]),
        max_size=60,
    )
)
def test_every_fence_that_commonmark_sees_becomes_one_code_block(lines: list[str]):
    source = "\n".join([*lines, "", "end"])
    fences = [token for token in MarkdownIt("commonmark").parse(source) if token.type in ("fence", "code_block")]
    expected = [token.content.strip("\n").rstrip() for token in fences if token.content.strip()]
    assert [block.text for block in loader.load(source + "\n") if block.kind == "code"] == expected or "end" in expected
