"""Sections, put together from the pieces that were found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from query.agent import Passage
from query.agent.sections import join_sections
from tests.query.agent.fakes import passage


def piece(number: int, text: str, *, heading: str = "Retrying", document: str = "a", score: float = 0.1) -> Passage:
    content = f"## {heading}\n\n{text}" if heading else text
    return passage(content, document_id=document, chunk_id=f"{document}-7-{number}", score=score, cosine=score)


def test_pieces_of_a_section_become_one_in_reading_order_with_the_heading_once():
    (joined,) = join_sections([piece(4, "Then."), piece(3, "First.", score=0.3)], [piece(5, "Last.")])
    assert joined.content == "## Retrying\n\nFirst.\n\nThen.\n\nLast."
    assert (joined.score, joined.cosine) == (0.3, 0.3)


def test_sections_keep_the_order_of_what_was_found():
    found = [piece(9, "B.", heading="B"), piece(1, "A.", heading="A"), piece(2, "A2.", heading="A")]
    assert [section.content for section in join_sections(found)] == ["## B\n\nB.", "## A\n\nA.\n\nA2."]


def test_pieces_under_another_heading_of_another_document_or_with_one_missing_between_stay_apart():
    found = [piece(1, "A.")]
    others = [piece(2, "B.", heading="Else"), piece(2, "C.", document="b"), piece(3, "D.")]
    assert join_sections(found, others) == (found[0],)


def test_pieces_that_only_came_along_are_no_sections_of_their_own():
    assert join_sections([piece(1, "A.")], [piece(8, "B.")]) == (piece(1, "A."),)


def test_pieces_without_a_heading_follow_one_another_too():
    (joined,) = join_sections([piece(0, "A.", heading="")], [piece(1, "B.", heading="")])
    assert joined.content == "A.\n\nB."


def test_a_section_has_an_end():
    pieces = [piece(number, "word " * 200, heading="") for number in range(20)]
    joined = join_sections(pieces[10:11], pieces)
    assert 1_000 < len(joined[0].content) <= 4_000 + 100


def test_ids_that_end_in_no_number_are_left_alone():
    found = [passage("A.", chunk_id="x"), passage("B.", chunk_id="y")]
    assert join_sections(found) == tuple(found)


@given(st.lists(st.integers(0, 12), unique=True, min_size=1), st.integers(1, 8))
def test_every_piece_that_was_found_is_in_exactly_one_section(numbers: list[int], count: int):
    pieces = [piece(number, f"<{number}>", heading="H" if number % 5 else "G") for number in numbers]
    sections = join_sections(pieces[:count], pieces[count:])
    text = "".join(section.content for section in sections)
    assert all(text.count(f"<{number}>") == 1 for number in numbers[:count])
    assert all(text.count(f"<{number}>") <= 1 for number in numbers)
