"""Where documents are cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.loaders import Block, MarkdownLoader
from knowledge.splitter import HeadingSplitter, Piece

splitter = HeadingSplitter()
LONG = "This sentence fills the section. " * 10


def heading(text: str, level: int) -> Block:
    return Block("heading", text, level)


def test_each_section_is_a_piece_under_its_headings():
    blocks = [
        heading("Guide", 1),
        Block("text", LONG),
        heading("Retry", 2),
        Block("text", LONG),
        heading("Next", 1),
        Block("text", LONG),
    ]
    assert [piece.heading_path for piece in splitter.split("Docs", blocks)] == [
        ("Guide",),
        ("Guide", "Retry"),
        ("Next",),
    ]


def test_a_piece_shows_its_headings_and_embeds_the_title_with_them():
    piece = Piece(("Tasks", "Retry"), "Text.", "Celery")
    assert piece.content == "## Tasks > Retry\n\nText."
    assert piece.embedding_text == "Celery > Tasks > Retry\n\nText."


def test_a_first_heading_that_repeats_the_title_is_left_out():
    (piece,) = splitter.split("The guide", [heading("The Guide", 1), Block("text", LONG)])
    assert piece.heading_path == ()


def test_tiny_sections_are_merged_and_keep_their_headings_in_the_text():
    blocks = [heading("A", 1), heading("B", 2), Block("text", "b"), heading("C", 2), Block("text", "c")]
    assert [(piece.heading_path, piece.text) for piece in splitter.split("Docs", blocks)] == [
        (("A",), "**B**\n\nb\n\n**C**\n\nc")
    ]


def test_headings_without_text_are_not_lost():
    pieces = splitter.split("Docs", [heading("Only", 1), heading("Headings", 1)])
    assert "Only" in pieces[0].content
    assert "Headings" in pieces[0].content


@pytest.mark.parametrize("blocks", [[heading("The Guide", 1)], [heading("The Guide", 1), heading("the guide", 1)]])
def test_a_document_of_nothing_but_its_title_is_that(blocks):
    (piece,) = splitter.split("The guide", blocks)
    assert piece.content == piece.embedding_text == "The Guide"


def test_a_document_of_nothing_has_no_pieces():
    assert splitter.split("The guide", []) == []


def test_a_fence_is_kept_whole_with_the_line_that_introduces_it():
    code = "\n".join(f"line_{number} = {number}" for number in range(100))
    pieces = splitter.split(
        "Docs", [Block("text", "x" * 600), Block("text", "Do this:"), Block("code", code, language="python")]
    )
    assert [piece.text for piece in pieces] == ["x" * 600, f"Do this:\n\n```python\n{code}\n```"]


def test_a_fence_beyond_the_limit_is_cut_at_line_ends():
    lines = [f"line_{number} = '{'x' * 50}'" for number in range(200)]
    pieces = splitter.split("Docs", [Block("code", "\n".join(lines))])
    assert len(pieces) > 1
    assert all(piece.text.startswith("```\n") and piece.text.endswith("\n```") for piece in pieces)
    assert [line for piece in pieces for line in piece.text.split("\n")[1:-1]] == lines


def test_code_that_holds_a_fence_is_fenced_by_a_longer_one():
    (piece,) = splitter.split("Docs", [Block("code", "```\ninner\n```")])
    assert piece.text == "````\n```\ninner\n```\n````"


def test_a_hash_inside_code_is_no_heading():
    (piece,) = splitter.split("Docs", MarkdownLoader().load("Text.\n\n```sh\n# not a heading\n```\n"))
    assert piece.heading_path == ()


def test_long_text_is_cut_at_paragraphs_then_at_sentences():
    paragraph = "A sentence of some length, which ends here. " * 40
    pieces = splitter.split("Docs", [Block("text", "Short."), Block("text", paragraph)])
    assert len(pieces) > 1
    assert all(piece.text.endswith("here.") for piece in pieces)
    assert all(len(piece.text) <= 1_250 for piece in pieces)


@pytest.mark.parametrize(
    "blocks",
    [
        [Block("text", "x" * 3_000_000)],
        [Block("text", "word " * 600_000)],
        [Block("code", "x" * 3_000_000)],
        [heading("h", 1)] * 30_000,
        [heading("h", 1 + number % 6) for number in range(30_000)],
        [heading("x" * 1_000_000, 1), Block("text", "y")],
        [Block("text", "a")] * 200_000,
    ],
    ids=["one word", "one line", "one line of code", "headings", "levels", "long heading", "paragraphs"],
)
def test_hostile_documents_end_in_pieces_of_bounded_size(blocks: list[Block]):
    pieces = splitter.split("Docs", blocks)
    assert pieces
    assert all(len(piece.embedding_text) <= 12_000 for piece in pieces)


words = st.lists(st.sampled_from(["alpha", "beta.", "gamma!", "delta:", "x" * 50]), min_size=1, max_size=120).map(
    " ".join
)
any_blocks = st.lists(
    st.one_of(
        st.builds(Block, st.just("heading"), st.sampled_from(["One", "Two", "Three"]), st.integers(1, 6)),
        st.builds(Block, st.just("text"), words),
        st.builds(
            Block,
            st.just("code"),
            st.lists(st.sampled_from(["a = 1", "# b", "```", ""]), min_size=1, max_size=30).map("\n".join),
        ),
    ),
    max_size=25,
)


@given(any_blocks)
def test_no_word_is_lost_and_none_comes_twice(blocks: list[Block]):
    blocks = [block for block in blocks if block.text.strip()]
    pieces = HeadingSplitter(target_characters=300, code_limit_characters=500, tiny_characters=80).split("Docs", blocks)
    expected = re.findall(r"\w+", " ".join(block.text for block in blocks if block.kind != "heading"))
    found = re.findall(r"\w+", "\n".join(re.sub(r"\*\*.*?\*\*", "", piece.text) for piece in pieces))
    assert [word for word in found if word not in ("One", "Two", "Three")] == expected
    assert all(piece.text.strip() for piece in pieces)
