"""Which section is taken for the answer."""

from __future__ import annotations

import pytest

from query.agent import Passage
from query.agent.ranking import rank_sections
from tests.query.agent.fakes import passage, prompt


def first(question: str, *passages: Passage) -> str:
    return rank_sections(question, prompt(question, *passages).sources)[0].passage.document_id


def test_without_sections_there_is_no_rank():
    assert rank_sections("How?", ()) == []


def test_the_last_heading_counts_more_than_those_above_it():
    above = passage("## Chords > Notes\n\nA chord.", document_id="above", title="Canvas")
    own = passage("## Notes > Chords\n\nA chord.", document_id="own", title="Canvas")
    assert first("What is a chord?", above, own) == "own"


def test_a_document_without_headings_is_about_its_title():
    other = passage("A broker.", document_id="other", title="Notes", cosine=0.8)
    titled = passage("A broker.", document_id="titled", title="Kafka", cosine=0.8)
    assert first("How do I use Kafka as a broker?", other, titled) == "titled"


def test_a_name_counts_more_than_common_words():
    words = passage("Some message broker.", document_id="words", title="Docs")
    name = passage("Kafka is one.", document_id="name", title="Docs")
    assert first("Is Kafka a message broker?", words, name) == "name"


@pytest.mark.parametrize(
    "title", ["Change history", "Changelog", "What's new in Parley 5", "Release notes", "Change history for Parley 2.1"]
)
def test_what_is_told_of_past_versions_gives_way_unless_it_is_asked_for(title: str):
    old = passage("Backoff.", document_id="old", title=title, cosine=0.85)
    guide = passage("Backoff.", document_id="guide", title="Guide", cosine=0.80)
    assert first("How do I set a new backoff?", old, guide) == "guide"
    assert first("Since which version is there a backoff?", old, guide) == "old"


def test_who_asks_how_is_shown_code_and_who_asks_what_need_not_be():
    prose = passage("A retry is repeated.", document_id="prose", cosine=0.85)
    code = passage("A retry:\n\n```\nretry()\n```", document_id="code", cosine=0.80)
    assert first("How do I retry?", prose, code) == "code"
    assert first("What is a retry?", prose, code) == "prose"


def test_a_guide_goes_before_the_definition_of_a_setting_for_who_asks_how():
    setting = passage("Default: 3.\n\nRetries.", document_id="setting", cosine=0.82)
    guide = passage("Set the retries.", document_id="guide", cosine=0.80)
    assert first("How can I set the retries?", setting, guide) == "guide"
    assert first("What are the retries?", setting, guide) == "setting"
