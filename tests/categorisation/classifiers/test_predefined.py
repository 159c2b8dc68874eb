from __future__ import annotations

import pytest

from categorisation.classifiers import CategorySpec, EmbeddingClassifier
from categorisation.classifiers.cues import split_words
from categorisation.predefined import PREDEFINED_CATEGORIES, PredefinedCategory
from knowledge.embedders import MiniLMEmbedder, model_files
from knowledge.embedders.install import install


def to_spec(category: PredefinedCategory) -> CategorySpec:
    return CategorySpec(category.title, category.title, category.description, category.examples, category.cues)


CAREERS = CategorySpec(
    "Careers",
    "Careers",
    "Questions about working at the company: open positions, applications, interviews, internships.",
    (
        "Are you hiring engineers?",
        "How do I apply for a job?",
        "Do you offer internships?",
        "What is the interview process like?",
        "Can I work remotely from Spain?",
    ),
)
BILLING = CategorySpec(
    "Billing",
    "Billing",
    "Invoices, payments, refunds, prices and subscriptions.",
    (
        "Where is my invoice for March?",
        "I was charged twice",
        "Can I get a refund?",
        "How much does the premium plan cost?",
        "Please cancel my subscription",
    ),
)

QUESTIONS = {
    "Discovery": [
        "How do I merge two boards?",
        "Where do I find my API key?",
        "What is a webhook and when would I use one?",
        "Which file formats can be opened?",
        "How would I automate the weekly report?",
        "What does the orange icon mean?",
    ],
    "Troubleshooting": [
        "I can't log in since this morning",
        "The save button stays grey",
        "Since version 4.2 nothing prints any more",
        "Search returns nothing although the document exists",
        "TypeError: cannot read property id of undefined",
        "The export contains only the header line",
    ],
    "Careers": [
        "Do you have open positions for designers?",
        "I sent my CV two weeks ago, when will I hear back?",
        "Is there a graduate programme?",
        "What salary can a junior developer expect with you?",
    ],
    "Billing": [
        "My credit card was declined but the money is gone",
        "When will the next payment be taken?",
        "Do you accept bank transfer?",
        "What does an extra seat cost?",
    ],
}


@pytest.fixture(scope="module")
def classifier() -> EmbeddingClassifier:
    install(model_files.default_models_dir())
    return EmbeddingClassifier(MiniLMEmbedder())


def share_of_right_answers(classifier: EmbeddingClassifier, categories: list[CategorySpec]) -> float:
    pairs = [(question, category.id) for category in categories for question in QUESTIONS[category.title]]
    found = classifier.classify([question for question, _ in pairs], categories)
    right = sum(
        classification.category_id == expected for classification, (_, expected) in zip(found, pairs, strict=True)
    )
    return right / len(pairs)


def test_the_two_are_told_apart(classifier: EmbeddingClassifier) -> None:
    assert share_of_right_answers(classifier, [to_spec(category) for category in PREDEFINED_CATEGORIES]) >= 0.9


def test_a_teams_own_categories_stand_beside_them_with_five_examples_and_no_cues(
    classifier: EmbeddingClassifier,
) -> None:
    categories = [*map(to_spec, PREDEFINED_CATEGORIES), CAREERS, BILLING]
    assert share_of_right_answers(classifier, categories) >= 0.9


def test_what_they_know_stands_in_their_data_and_not_in_their_ids(classifier: EmbeddingClassifier) -> None:
    discovery, troubleshooting = map(to_spec, PREDEFINED_CATEGORIES)
    swapped = [
        CategorySpec(troubleshooting.id, discovery.title, discovery.description, discovery.examples, discovery.cues),
        CategorySpec(discovery.id, "", troubleshooting.description, troubleshooting.examples, troubleshooting.cues),
    ]
    found = classifier.classify(["How do I merge two boards?", "It crashes when I save"], swapped)
    assert [classification.category_id for classification in found] == ["Troubleshooting", "Discovery"]


@pytest.mark.parametrize("category", PREDEFINED_CATEGORIES, ids=lambda category: category.title)
def test_they_keep_the_limits_that_every_category_keeps(category: PredefinedCategory) -> None:
    assert category.title
    assert category.description
    assert 5 <= len(category.examples) <= 20
    assert len(set(category.examples)) == len(category.examples)
    assert len(set(category.cues)) == len(category.cues)
    assert max(map(len, category.examples)) <= 500
    assert max(map(len, category.cues)) <= 100
    assert all(split_words(text) for text in (*category.examples, *category.cues))
