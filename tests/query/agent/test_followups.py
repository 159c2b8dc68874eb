"""Which questions lean on the conversation, and what they then mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.agent import Exchange
from query.agent.followups import leans_on_history, make_self_contained


@pytest.mark.parametrize(
    ("earlier", "question", "expected"),
    [
        ("What is a chord?", "How do I handle errors in it?", "How do I handle errors in a chord?"),
        (
            "What is a soft time limit?",
            "Can I change that while it runs?",
            "Can I change a soft time limit while it runs?",
        ),
        ("What does autoscaling do?", "How do I turn that on?", "How do I turn autoscaling on?"),
        (
            "What is a rate limit?",
            "What is raised when that is exceeded?",
            "What is raised when a rate limit is exceeded?",
        ),
        ("How do I retry a task?", "Does that work with Redis?", "Does retry a task work with Redis?"),
        ("What is a crontab schedule?", "What are its fields?", "What are a crontab schedule's fields?"),
        ("What is a rate limit?", "And with Redis?", "And with Redis? (a rate limit)"),
        ("What is a rate limit?", "Why?", "Why? (a rate limit)"),
        ("What is a rate limit?", "How do I change this setting?", "How do I change this setting? (a rate limit)"),
        ("How do I install Flower?", "In Docker?", "In Docker? (install Flower)"),
    ],
)
def test_a_question_that_leans_on_the_conversation_takes_its_topic(earlier: str, question: str, expected: str):
    assert make_self_contained(question, [Exchange(earlier, "An answer [1].")]) == expected


@pytest.mark.parametrize(
    "question",
    [
        "What is a group?",
        "How do I revoke a task that is already running?",
        "Is it possible to use Redis as a broker?",
        "If a task fails, how do I retry it?",
        "What is a chord and how do I debug it?",
        "Does it make sense to run two beats?",
        "Which settings configure the broker?",
    ],
)
def test_a_question_that_stands_on_its_own_stays_as_it_is(question: str):
    assert not leans_on_history(question)
    assert make_self_contained(question, [Exchange("What is a chord?", "This.")]) == question


def test_the_topic_comes_from_the_last_question_that_had_one():
    history = [Exchange("What is a chord?", "This."), Exchange("Thanks!", "You are welcome.")]
    assert make_self_contained("How does it fail?", history) == "How does a chord fail?"


def test_a_chain_of_follow_ups_keeps_the_topic():
    first = make_self_contained("And with Redis?", [Exchange("What is a rate limit?", "")])
    assert (
        make_self_contained("Why?", [Exchange("What is a rate limit?", ""), Exchange(first, "")])
        == "Why? (a rate limit)"
    )


def test_without_any_topic_the_question_stays():
    assert make_self_contained("Why?", [Exchange("Thanks!", "")]) == "Why?"


@given(st.text(max_size=300), st.text(max_size=300))
def test_what_comes_back_is_bounded(question: str, earlier: str):
    assert len(make_self_contained(question, [Exchange(earlier, "")])) <= len(question) + 400


@pytest.mark.parametrize("part", ["if a, it ", "a b and ", "that ", ",", "it is possible ", "what is "])
def test_hostile_questions_are_read_to_their_end(part: str):
    question = part * (10_000 // len(part))
    assert make_self_contained(question, [Exchange(question, "")])
    assert make_self_contained("How does it work?", [Exchange(question, "")])
