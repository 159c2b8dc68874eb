"""The shape of an API key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from teams import keys


def test_a_key_has_the_prefix_and_never_repeats():
    made = {keys.generate_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("parley_") and keys.is_well_formed(key) for key in made)


@given(position=st.integers(min_value=len(keys.PREFIX), max_value=55), replacement=st.sampled_from("0Zz9"))
def test_one_mistyped_character_is_noticed_without_the_database(position: int, replacement: str):
    key = keys.generate_key()
    mistyped = key[:position] + replacement + key[position + 1 :]
    assert keys.is_well_formed(mistyped) == (mistyped == key)


@given(st.text())
def test_no_other_text_is_taken_for_a_key(text: str):
    assert not keys.is_well_formed(text)


def test_what_is_shown_of_a_key_does_not_give_it_away():
    key = keys.generate_key()
    assert key.startswith(keys.shown_part(key))
    assert len(key) - len(keys.shown_part(key)) >= 40
