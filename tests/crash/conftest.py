"""Processes of the service, a broker of their own, and a bot to ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import knowledge.composition
from knowledge import tasks
from teams.models import Scope
from teams.services import create_api_key
from tests.crash.service import WEB_ENVIRONMENT, Bot
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import ProjectFactory
from tests.faults.brokers import Broker, start_broker
from tests.plugin import LOGS, VectorDBServer, neighbours

DOCUMENT = "# Retries\n\nA task that fails is retried with exponential backoff when retry_backoff is set."


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Broker]:
    """A broker of this module's own, of the kind that CELERY_BROKER_URL names."""
    broker = start_broker(neighbours.supervisor, neighbours.folder, os.environ)
    yield broker
    broker.close()


@pytest.fixture
def bot(transactional_db: None, vectordb_server: VectorDBServer, settings: pytest.FixtureRequest) -> Iterator[Bot]:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"embedder": WEB_ENVIRONMENT["EMBEDDER"]})
    knowledge.composition.forget_parts()
    project = ProjectFactory()
    _, key = create_api_key(project=project, name="test", scopes=Scope.values)
    document = DocumentFactory(project=project, title="Retries", content=DOCUMENT)
    tasks.index_document.run(str(document.pk))
    yield Bot(project, key)
    knowledge.composition.forget_parts()


def logs_of(request: pytest.FixtureRequest) -> list[Path]:
    """The logs that are shown when the test fails."""
    return request.node.stash.setdefault(LOGS, [])
