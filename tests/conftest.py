"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from rest_framework.test import APIClient

from teams import services
from teams.models import Project, Scope, User
from tests.factories.teams import ProjectFactory, UserFactory

ALL_SCOPES = tuple(Scope.values)


@pytest.fixture
def project(db: None) -> Project:
    return ProjectFactory()


@pytest.fixture
def admin_user(db: None) -> User:
    """In the place of pytest-django's, whose password takes a tenth of a second to hash."""
    return UserFactory(email="admin@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def client_of() -> Callable[..., APIClient]:
    """A client with a key of the project; all scopes unless told otherwise."""

    def make(project: Project, scopes: Sequence[str] = ALL_SCOPES) -> APIClient:
        _, plain = services.create_api_key(project=project, name="test", scopes=scopes)
        return APIClient(headers={"X-API-KEY": plain})

    return make


@pytest.fixture
def api(project: Project, client_of: Callable[..., APIClient]) -> APIClient:
    """A client of `project`, with every scope."""
    return client_of(project)
