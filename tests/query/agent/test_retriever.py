"""What counts as relevant: meaning and words together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.agent import HybridRetriever
from query.agent.retriever import judge_relevance
from tests.query.agent.fakes import FakeEmbedder, FakeSearch, passage

THRESHOLD = 0.56


def test_the_question_is_searched_for_by_meaning_and_words():
    search = FakeSearch([passage("A retry.")])
    retrieval = HybridRetriever(FakeEmbedder(), search).retrieve("How do I retry?", 5)
    assert search.calls == [("How do I retry?", 5)]
    assert retrieval.is_relevant
    assert retrieval.passages == (passage("A retry."),)
    assert retrieval.embed_ms >= 0


def test_what_came_after_the_passages_asked_for_is_kept_apart_and_does_not_make_them_relevant():
    found = [passage("Elsewhere.", title="Else", cosine=0.3), passage("A retry.", chunk_id="a-2", cosine=0.9)]
    search = FakeSearch(found)
    retrieval = HybridRetriever(FakeEmbedder(), search).retrieve("How do I retry?", 1, further_k=4)
    assert search.calls == [("How do I retry?", 5)]
    assert (retrieval.passages, retrieval.further) == (tuple(found[:1]), tuple(found[1:]))
    assert not retrieval.is_relevant


def test_nothing_found_is_not_relevant():
    assert not HybridRetriever(FakeEmbedder(), FakeSearch()).retrieve("How do I retry?", 5).is_relevant


def test_a_threshold_of_ones_own_takes_the_place_of_the_embedders():
    search = FakeSearch([passage("Something else.", title="Else", cosine=0.45)])
    assert not HybridRetriever(FakeEmbedder(), search).retrieve("What?", 5).is_relevant
    assert HybridRetriever(FakeEmbedder(), search, relevance_threshold=0.4).retrieve("What?", 5).is_relevant


def required(question: str, *contents: str) -> float:
    passages = [passage(content, title="Docs", cosine=0.5) for content in contents]
    return judge_relevance(question, passages, THRESHOLD).required_cosine


def test_a_passage_with_half_of_the_words_must_reach_the_threshold():
    assert required("Can tasks expire quickly on time?", "Tasks expire.", "Quickly, in time.") == pytest.approx(
        THRESHOLD
    )


def test_a_name_that_no_passage_mentions_raises_what_is_required():
    assert required("How do I migrate from Dramatiq?", "You migrate tasks.") > THRESHOLD + 0.15


def test_a_common_word_that_is_missing_raises_it_less_than_a_name():
    assert required("How do I migrate my kitchen?", "Migrate.") < required("How do I migrate my Kitchen?", "Migrate.")


def test_a_passage_that_holds_every_word_may_be_far_in_meaning():
    assert required("What is the difference between a chord and a group?", "A chord waits for its group.") < 0.4


def test_a_passage_that_its_heading_calls_what_is_asked_for_may_be_farther_than_one_that_mentions_it():
    question = "How do I install Flower?"
    headed = required(question, "## Monitoring > Flower\n\nInstall with pip.")
    assert headed < required(question, "## Sub-commands\n\nOnce installed, flower runs.")
    assert headed == pytest.approx(THRESHOLD * (1 - 0.4 - 0.1 * 0.75))


def test_a_heading_says_nothing_for_a_passage_with_half_of_the_words():
    assert required("Can tasks expire quickly on time?", "## Tasks expire\n\nThey do.") >= THRESHOLD


def test_words_count_by_stem_and_in_titles():
    relevance = judge_relevance(
        "How are retried tasks scheduled?", [passage("Schedules", title="Retry a task")], THRESHOLD
    )
    assert relevance.missing_share == 0


def test_a_capital_at_the_start_of_a_question_makes_no_name():
    assert required("Migrating from where?", "Nothing.") == required("migrating from where?", "Nothing.")


def test_a_question_without_words_of_its_own_needs_the_threshold():
    assert required("How is it?", "Anything.") == pytest.approx(THRESHOLD)


@given(
    st.text(max_size=60),
    st.lists(st.text(max_size=60), max_size=4),
    st.floats(-1, 1),
    st.floats(0.05, 0.9),
)
def test_what_is_required_stays_between_a_part_of_the_threshold_and_one(question, contents, cosine, threshold):
    passages = [passage(content, title="", cosine=cosine) for content in contents]
    relevance = judge_relevance(question, passages, threshold)
    assert 0.5 * threshold - 1e-9 <= relevance.required_cosine <= 1
    assert -1e-9 <= relevance.missing_share <= 1
