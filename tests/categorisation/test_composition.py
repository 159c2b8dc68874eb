from __future__ import annotations

import pytest
from django.core import checks

from categorisation import composition
from categorisation.checks import check_classifier
from categorisation.classifiers import DummyClassifier, EmbeddingClassifier
from tests.categorisation.conftest import SetEnvironment
from tests.categorisation.fakes import FakeClassifier


def test_the_bare_default_is_the_dummy_and_is_warned_of(set_environment: SetEnvironment):
    set_environment(classifier="dummy", dummy_classifier_seconds=0.0)
    assert isinstance(composition.classifier(), DummyClassifier)
    assert composition.questions_per_call() == 1
    assert composition.calls_at_once() == composition.backfill_lanes()
    (warning,) = check_classifier(None)
    assert warning.level == checks.WARNING
    assert "CLASSIFIER" in warning.msg


def test_the_embedding_classifier_takes_many_questions_at_once(set_environment: SetEnvironment):
    set_environment(classifier="embedding")
    assert isinstance(composition.classifier(), EmbeddingClassifier)
    assert composition.questions_per_call() > 1
    assert 1 < composition.calls_at_once() < composition.backfill_lanes()
    assert check_classifier(None) == []


@pytest.mark.parametrize("name", ["FakeClassifier", "factory_of_fakes"])
def test_a_dotted_path_names_a_class_or_a_factory(set_environment: SetEnvironment, name: str):
    set_environment(classifier=f"tests.categorisation.fakes.{name}")
    assert isinstance(composition.classifier(), FakeClassifier)
    assert composition.classifier() is composition.classifier()
    assert composition.questions_per_call() == 1
    assert check_classifier(None) == []


@pytest.mark.parametrize(
    "path", ["nowhere.Classifier", "tests.categorisation.fakes.Missing", "tests.categorisation.fakes.NOT_CALLABLE"]
)
def test_a_path_that_leads_nowhere_is_an_error_that_names_the_setting(set_environment: SetEnvironment, path: str):
    set_environment(classifier=path)
    (error,) = check_classifier(None)
    assert error.level == checks.ERROR
    assert "CLASSIFIER" in error.msg
    assert path in error.msg


def test_the_check_is_registered():
    assert check_classifier in checks.registry.registry.get_checks()
