from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from categorisation import composition
from categorisation.models import Category
from teams.models import Project

SetEnvironment = Callable[..., None]


@pytest.fixture
def set_environment(settings: Settings) -> Iterator[SetEnvironment]:
    """Change settings of the environment, by their names."""

    def change(**values: Any) -> None:
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update=values)
        composition.classifier.cache_clear()

    yield change
    composition.classifier.cache_clear()


@pytest.fixture
def discovery(project: Project) -> Category:
    return project.categories.get(title="Discovery")


@pytest.fixture
def troubleshooting(project: Project) -> Category:
    return project.categories.get(title="Troubleshooting")
