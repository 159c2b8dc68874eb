"""Which stretch of a section is quoted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from query.agent.stretches import Unit, choose_stretch, parse_units
from query.agent.words import content_stems

FILLER = "Nothing of interest is told in this paragraph, which only takes up room. " * 4


def choose(question: str, content: str, room: int = 600) -> str:
    heading, units = parse_units(content)
    return "\n\n".join(unit.text for unit in choose_stretch(heading, units, content_stems(question), room))


def test_a_section_that_fits_is_taken_whole():
    content = "## Retrying\n\nOne.\n\n```\ncode\n```\n\nTwo."
    assert choose("How do I wait?", content) == "One.\n\n```\ncode\n```\n\nTwo."


def test_a_section_is_read_from_its_beginning_when_its_heading_answers_to_the_question():
    content = f"## Remote debugging\n\nSet a trace.\n\n{FILLER}\n\n{FILLER}\n\nRemote debugging is debugging."
    assert choose("How do I debug remotely?", content).startswith("Set a trace.")


def test_words_that_the_heading_leaves_open_decide():
    content = f"## Retrying\n\nRetrying.\n\n{FILLER}\n\n{FILLER}\n\nSet an exponential backoff."
    assert choose("How do I retry with exponential backoff?", content).endswith("Set an exponential backoff.")


def test_what_comes_before_the_words_that_decide_is_left_out_and_what_comes_after_them_is_not():
    content = f"{FILLER}\n\n{FILLER}\n\nUnrelated.\n\nSet a backoff.\n\nUnrelated too."
    assert choose("How do I set a backoff?", content, room=330) == "Set a backoff.\n\nUnrelated too."


def test_code_comes_with_what_introduces_it():
    content = f"{FILLER}\n\n{FILLER}\n\nThe chord:\n\n```\nchord()\n```\n\n{FILLER}"
    assert "The chord:\n\n```\nchord()\n```" in choose("What is a chord?", content)


def test_a_first_unit_that_is_larger_than_the_room_is_taken_whole():
    assert choose("What?", FILLER, room=10) == FILLER


@given(
    st.lists(
        st.tuples(st.text(alphabet="chord a.:*", min_size=1, max_size=80), st.booleans()), min_size=1, max_size=12
    ),
    st.integers(20, 400),
)
def test_a_stretch_is_contiguous_and_keeps_to_its_room_unless_its_beginning_cannot(
    parts: list[tuple[str, bool]], room: int
):
    units = [Unit(f"{position}{text}", is_code) for position, (text, is_code) in enumerate(parts)]
    stretch = list(choose_stretch("", units, {"chord"}, room))
    start = units.index(stretch[0])
    assert units[start : start + len(stretch)] == stretch
    assert start == 0 or sum(len(unit.text) for unit in stretch) <= room
