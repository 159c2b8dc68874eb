"""A provider in a process of its own, as model and as embedder: whatever it does, a client gets an answer or a 503 in
bounded time, and nothing is half-written.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from rest_framework.test import APIClient

import knowledge.composition
from knowledge.models import Document
from query import composition
from query.models import QuestionAnswer, Thread
from teams.models import Project
from tests.openai_server import MODES, RETRY_AFTER_S, RunningServer, running_openai_server

TIMEOUT_S = 1.5
# A request may make one call to the embedder and two to the model; far above their sum, for busy machines.
BOUND_S = 20.0
FAULTS = sorted(set(MODES) - {"ok", "slow"})
TEXT = "# Retries\n\nA task that fails is retried with exponential backoff when retry_backoff is set."
QUESTION = "Is a task that fails retried with exponential backoff when retry_backoff is set?"

UseProvider = Callable[..., None]


@pytest.fixture(scope="module")
def provider() -> Iterator[RunningServer]:
    with running_openai_server(delay_s=0.5) as server:
        yield server


@pytest.fixture
def use_provider(settings: object, provider: RunningServer) -> Iterator[UseProvider]:
    """Let the model, the embedder or both be the provider's."""
    environment = settings.ENVIRONMENT  # type: ignore[attr-defined]

    def use(*roles: str) -> None:
        chosen = {}
        for role in roles:
            chosen |= {role: "openai", f"{role}_model": "m", f"{role}_timeout_s": TIMEOUT_S}
            chosen[f"{role}_base_url"] = provider.base_url
        settings.ENVIRONMENT = environment.model_copy(update=chosen)  # type: ignore[attr-defined]
        knowledge.composition.forget_parts()
        composition.llm.cache_clear()

    yield use
    provider.set_mode("ok")
    settings.ENVIRONMENT = environment  # type: ignore[attr-defined]
    knowledge.composition.forget_parts()
    composition.llm.cache_clear()


def teach(api: APIClient, project: Project) -> Document:
    body = {"title": "Retries", "content": TEXT, "content_type": "text/markdown"}
    response = api.post(f"/knowledge/v1/projects/{project.pk}/documents/", body)
    assert response.status_code == 201
    document = Document.objects.get(pk=response.json()["id"])
    knowledge.composition.indexer().index(document.pk)
    document.refresh_from_db()
    return document


def chat(api: APIClient, project: Project, **body: str):
    return api.post(f"/query/v1/projects/{project.pk}/chat", {"question": QUESTION, **body})


def assert_unavailable(response, mode: str) -> None:
    assert response.status_code == 503, (mode, response.content)
    assert 1 <= int(response["Retry-After"]) <= 60
    if mode in ("429", "500"):
        assert int(response["Retry-After"]) == RETRY_AFTER_S
    assert response.json()["type"] == "server_error"


@pytest.mark.usefixtures("vectordb_server")
@pytest.mark.parametrize("mode", ["ok", "slow"])
def test_a_provider_that_answers_answers_questions_and_follow_ups(
    project: Project, api: APIClient, provider: RunningServer, use_provider: UseProvider, mode: str
):
    use_provider("llm", "embedder")
    assert teach(api, project).state == "indexed"
    provider.set_mode(mode)
    first = chat(api, project)
    assert first.status_code == 200
    assert not first.json()["is_uncertain"]
    assert "[1]" in first.json()["answer"]
    assert first.json()["relevant_sources"][0]["title"] == "Retries"
    assert chat(api, project, thread_id=first.json()["thread_id"]).status_code == 200
    assert Thread.objects.get().total_questions == 2


@pytest.mark.usefixtures("vectordb_server")
@pytest.mark.parametrize("mode", FAULTS)
@pytest.mark.parametrize("role", ["llm", pytest.param("embedder", marks=pytest.mark.ci)])
def test_a_provider_that_fails_is_503_and_leaves_no_trace(
    project: Project, api: APIClient, provider: RunningServer, use_provider: UseProvider, role: str, mode: str
):
    use_provider(role)  # the other part is the offline one
    teach(api, project)
    thread_id = chat(api, project).json()["thread_id"]
    provider.set_mode(mode)
    started = time.monotonic()
    assert_unavailable(chat(api, project), mode)
    assert_unavailable(chat(api, project, thread_id=thread_id), mode)
    assert time.monotonic() - started < 2 * BOUND_S
    assert Thread.objects.get().total_questions == 1
    assert QuestionAnswer.objects.count() == 1


@pytest.mark.usefixtures("vectordb_server")
@pytest.mark.parametrize("mode", FAULTS)
def test_a_document_waits_for_an_embedder_that_fails(
    project: Project, api: APIClient, provider: RunningServer, use_provider: UseProvider, mode: str
):
    use_provider("embedder")
    provider.set_mode(mode)
    document = teach(api, project)
    assert (document.state, document.live_revision) == ("pending", None)
    assert document.error
    assert TEXT not in document.error
    row = api.get(f"/knowledge/v1/projects/{project.pk}/documents/{document.pk}/").json()
    assert (row["state"], row["chunk_count"]) == ("pending", 0)


@pytest.mark.usefixtures("vectordb_server")
def test_a_vector_database_that_is_down_is_503_and_leaves_no_trace(
    project: Project, api: APIClient, provider: RunningServer, use_provider: UseProvider, settings: object
):
    use_provider("llm", "embedder")
    teach(api, project)
    nowhere = {"vectordb_url": "http://127.0.0.1:9"}
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update=nowhere)  # type: ignore[attr-defined]
    knowledge.composition.forget_parts()
    assert_unavailable(chat(api, project), "down")
    asked = api.post(f"/query/v1/projects/{project.pk}/retrieval", {"query": QUESTION})
    assert_unavailable(asked, "down")
    assert not Thread.objects.exists()
    # what does not need it goes on
    assert api.get(f"/query/v1/projects/{project.pk}/threads/").status_code == 200
    body = {"title": "More", "content": TEXT, "content_type": "text/markdown", "external_id": str(uuid.uuid4())}
    assert api.post(f"/knowledge/v1/projects/{project.pk}/documents/", body).status_code == 201
