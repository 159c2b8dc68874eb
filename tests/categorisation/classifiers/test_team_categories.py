"""The teams' own categories, on questions that were written down before the classifier saw any."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.team_categories import BALANCED_ACCURACY_GATE, TEAMS, judge, read_categories, read_questions
from categorisation.classifiers import EmbeddingClassifier
from knowledge.embedders import MiniLMEmbedder, model_files
from knowledge.embedders.install import install


@pytest.fixture(scope="module")
def classifier() -> EmbeddingClassifier:
    install(model_files.default_models_dir())
    return EmbeddingClassifier(MiniLMEmbedder())


@pytest.mark.parametrize("team", TEAMS)
def test_the_questions_of_a_team_are_sorted_into_its_categories(classifier: EmbeddingClassifier, team: str):
    outcome = judge(classifier, team)
    assert len(outcome.pairs) == 20 * len(TEAMS[team])
    assert outcome.balanced_accuracy >= BALANCED_ACCURACY_GATE, outcome.recalls


def test_there_are_twenty_questions_for_each_category_and_none_is_an_example():
    questions = read_questions()
    categories = read_categories()
    assert Counter(row.category for row in questions) == dict.fromkeys(categories, 20)
    assert not {row.question for row in questions} & {text for spec in categories.values() for text in spec.examples}


@pytest.mark.parametrize("title", ["Careers", "Legal", "Coding"])
def test_a_category_of_a_teams_own_has_a_description_and_five_examples_and_no_cues(title: str):
    category = read_categories()[title]
    assert category.description
    assert len(category.examples) == 5
    assert category.cues == ()
