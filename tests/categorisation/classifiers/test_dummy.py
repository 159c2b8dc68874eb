from __future__ import annotations

import pytest

from categorisation.classifiers import CategorySpec, DummyClassifier
from categorisation.errors import ClassifierError

CATEGORIES = [CategorySpec(letter, f"Category {letter}") for letter in "abcd"]


def test_it_waits_its_seconds_for_each_question() -> None:
    waits: list[float] = []
    DummyClassifier(1.5, sleep=waits.append).classify(["one", "two", "three"], CATEGORIES)
    assert waits == [1.5, 1.5, 1.5]


def test_it_takes_two_seconds_unless_told_otherwise() -> None:
    waits: list[float] = []
    DummyClassifier(sleep=waits.append).classify(["one"], CATEGORIES)
    assert waits == [2.0]


def test_it_takes_every_category_sooner_or_later_and_is_as_sure_as_chance() -> None:
    found = DummyClassifier(0).classify([f"question {number}" for number in range(400)], CATEGORIES)
    assert {classification.category_id for classification in found} == set("abcd")
    assert {classification.confidence for classification in found} == {0.25}


def test_its_choice_is_a_part_that_can_be_given() -> None:
    classifier = DummyClassifier(0, choose=lambda categories: categories[-1])
    assert [found.category_id for found in classifier.classify(["one", "two"], CATEGORIES)] == ["d", "d"]


def test_no_questions_are_answered_at_once_and_no_categories_never() -> None:
    assert DummyClassifier(60).classify([], CATEGORIES) == []
    with pytest.raises(ClassifierError):
        DummyClassifier(60).classify(["one"], [])


def test_negative_seconds_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        DummyClassifier(-1)


def test_its_version_is_stable() -> None:
    assert DummyClassifier().version == DummyClassifier().version == "dummy-1"
