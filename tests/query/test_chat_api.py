"""Asking: answers with citations, follow-ups, honest ignorance, and nothing half-written."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks
from rest_framework.test import APIClient

from knowledge.models import Library
from observability import metrics
from query import composition, services
from query.agent import LLMClient
from query.errors import LLMUnavailable, ThreadNotFound
from query.models import QuestionAnswer, Thread
from query.signals import thread_started
from teams.models import Project
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.query.conftest import Teach

ClientOf = Callable[..., APIClient]


def chat(api: APIClient, project: Project, **body: object):
    return api.post(f"/query/v1/projects/{project.pk}/chat", body)


def test_an_answer_cites_its_source_and_is_recorded(taught: Project, api: APIClient):
    response = chat(api, taught, question="How do I retry a task with exponential backoff?")
    assert response.status_code == 200
    body = response.json()
    assert list(body) == [
        "question",
        "answer",
        "question_answer_id",
        "thread_id",
        "is_uncertain",
        "relevant_sources",
        "timings",
    ]
    assert set(body["timings"]) == {"embed_ms", "retrieve_ms", "generate_ms", "total_ms"}
    assert "retry_backoff" in body["answer"]
    assert not body["is_uncertain"]
    numbers = [int(number) for number in re.findall(r"\[(\d+)\]", body["answer"])]
    assert numbers
    cited = body["relevant_sources"][numbers[0] - 1]
    assert (cited["title"], cited["source_url"]) == ("Retrying tasks", "https://example.com/retries")
    exchange = QuestionAnswer.objects.get()
    assert (str(exchange.pk), str(exchange.thread_id)) == (body["question_answer_id"], body["thread_id"])
    assert exchange.thread.first_question == body["question"]


def test_query_is_another_name_for_question(taught: Project, api: APIClient):
    assert chat(api, taught, query="How are tasks routed to a queue?").json()["question"].startswith("How are tasks")


def test_what_the_client_tells_of_the_asker_is_kept(taught: Project, api: APIClient):
    chat(
        api,
        taught,
        question="How are tasks routed?",
        user={"email": "ada@example.com", "unique_client_id": "42", "metadata": {"plan": "gold"}},
        metadata={"origin_url": "https://example.com/help"},
    )
    thread = Thread.objects.get()
    assert (thread.user_email, thread.user_unique_client_id) == ("ada@example.com", "42")
    assert (thread.user_metadata, thread.origin_url) == ({"plan": "gold"}, "https://example.com/help")


def test_a_question_that_the_documents_do_not_answer_is_answered_with_i_dont_know(taught: Project, api: APIClient):
    body = chat(api, taught, question="What is the capital of Mongolia?").json()
    assert body["is_uncertain"]
    assert body["relevant_sources"] == []
    assert "don't know" in body["answer"]
    assert Thread.objects.get().is_uncertain


def test_a_bot_without_documents_knows_nothing(project: Project, api: APIClient):
    assert chat(api, project, question="How do I retry a task?").json()["is_uncertain"]


@pytest.mark.parametrize("by_path", [True, False])
def test_a_follow_up_continues_the_thread_and_leans_on_it(taught: Project, api: APIClient, by_path: bool):
    first = chat(api, taught, question="How do I set a soft time limit for a task?").json()
    follow_up = "What happens when it is exceeded?"
    if by_path:
        second = api.post(f"/query/v1/threads/{first['thread_id']}/chat", {"question": follow_up}).json()
    else:
        second = chat(api, taught, question=follow_up, thread_id=first["thread_id"]).json()
    assert second["thread_id"] == first["thread_id"]
    assert "SoftTimeLimitExceeded" in second["answer"]
    thread = Thread.objects.get()
    assert thread.total_questions == 2
    assert thread.first_question == first["question"]
    assert thread.last_activity_at > thread.created_at


def test_an_uncertain_follow_up_makes_the_thread_uncertain_for_good(taught: Project, api: APIClient):
    thread_id = chat(api, taught, question="How are tasks routed to a queue?").json()["thread_id"]
    for question in ("What is the capital of Mongolia?", "How are tasks routed to a queue?"):
        api.post(f"/query/v1/threads/{thread_id}/chat", {"question": question})
    assert Thread.objects.get().is_uncertain


def test_a_thread_of_another_project_or_none_is_404_and_asks_nothing(project: Project, api: APIClient):
    foreign = ThreadFactory(project=ProjectFactory()).pk
    answers = [
        response
        for thread_id in (foreign, uuid.uuid4())
        for response in (
            chat(api, project, question="And then?", thread_id=str(thread_id)),
            api.post(f"/query/v1/threads/{thread_id}/chat", {"question": "And then?"}),
        )
    ]
    assert {response.status_code for response in answers} == {404}
    assert len({str(response.json()) for response in answers}) == 1
    assert not QuestionAnswer.objects.exists()


def test_a_foreign_thread_is_404_before_its_body_is_looked_at(project: Project, api: APIClient):
    url = "/query/v1/threads/{}/chat"
    assert api.post(url.format(ThreadFactory(project=ProjectFactory()).pk), {"question": 7}).status_code == 404
    assert api.post(url.format(ThreadFactory(project=project).pk), {"question": ""}).status_code == 400


@pytest.mark.parametrize("by_path", [True, False])
def test_a_follow_up_looks_its_thread_up_once(taught: Project, api: APIClient, by_path: bool):
    thread = ThreadFactory(project=taught)
    with CaptureQueriesContext(connection) as captured:
        if by_path:
            answer = api.post(f"/query/v1/threads/{thread.pk}/chat", {"question": "How are tasks routed?"})
        else:
            answer = chat(api, taught, question="How are tasks routed?", thread_id=str(thread.pk))
    assert answer.status_code == 200
    assert sum('FROM "query_thread"' in query["sql"] for query in captured) == 1


def test_a_key_without_the_chat_scope_may_not_ask(project: Project, client_of: ClientOf):
    assert chat(client_of(project, ["read", "manage"]), project, question="May I?").status_code == 403


def test_a_new_thread_is_announced_once_it_is_committed(
    taught: Project, api: APIClient, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
):
    heard: list[uuid.UUID] = []

    def listen(thread_id: uuid.UUID, **_: object) -> None:
        heard.append(thread_id)

    thread_started.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            thread_id = chat(api, taught, question="How are tasks routed?").json()["thread_id"]
            assert heard == []
        with django_capture_on_commit_callbacks(execute=True):
            chat(api, taught, question="And to many queues?", thread_id=thread_id)
    finally:
        thread_started.disconnect(listen)
    assert [str(found) for found in heard] == [thread_id]


@pytest.mark.django_db(transaction=True)
def test_check_04_a_listener_that_raises_does_not_fail_the_chat(taught: Project, api: APIClient):
    heard: list[object] = []

    def fail(**_: object) -> None:
        raise RuntimeError("publishing failed")

    def listen(**_: object) -> None:
        heard.append(1)

    thread_started.connect(fail)
    thread_started.connect(listen)
    try:
        response = chat(api, taught, question="How are tasks routed?")
    finally:
        thread_started.disconnect(fail)
        thread_started.disconnect(listen)
    assert response.status_code == 200
    assert Thread.objects.count() == 1
    assert heard == [1]


class DownLLM:
    def generate(self, prompt: object) -> str:
        raise LLMUnavailable("The model does not answer.", retry_after_s=7)

    def make_self_contained(self, question: str, history: object) -> str:
        return question


@pytest.fixture
def llm_is_down(settings: object) -> LLMClient:
    down = DownLLM()
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"llm": f"{__name__}.DownLLM"})  # type: ignore[attr-defined]
    composition.llm.cache_clear()
    yield down
    composition.llm.cache_clear()


def test_a_model_that_is_down_is_503_with_retry_after_and_leaves_no_trace(
    taught: Project, api: APIClient, llm_is_down: LLMClient
):
    response = chat(api, taught, question="How do I retry a task with exponential backoff?")
    assert response.status_code == 503
    assert response["Retry-After"] == "7"
    assert response.json()["type"] == "server_error"
    assert not Thread.objects.exists()


class TestRetrieval:
    def retrieve(self, api: APIClient, project: Project, **body: object):
        return api.post(f"/query/v1/projects/{project.pk}/retrieval", body)

    def test_passages_come_best_first_with_their_documents(self, taught: Project, api: APIClient):
        results = self.retrieve(api, taught, query="exponential backoff", top_k=2).json()["results"]
        assert len(results) == 2
        assert set(results[0]) == {"chunk_id", "document_id", "title", "source_url", "content", "score"}
        assert results[0]["title"] == "Retrying tasks"
        assert results[0]["score"] >= results[1]["score"]

    def test_filters_are_equalities_on_metadata(self, project: Project, api: APIClient, teach: Teach):
        for language in ("en", "de"):
            teach(project, f"Queues {language}", "Tasks wait in queues.", metadata={"language": language, "n": 1})
        found = self.retrieve(api, project, query="queues", filters={"language": "de", "n": 1}).json()["results"]
        assert [passage["title"] for passage in found] == ["Queues de"]

    @pytest.mark.parametrize("name", ["product", "metadata.product", "document.metadata.product"])
    def test_a_filters_name_may_be_written_as_vectordb_has_it(
        self, project: Project, api: APIClient, teach: Teach, name: str
    ):
        for product in ("x", "y"):
            teach(project, f"Queues {product}", "Tasks wait in queues.", metadata={"product": product, "a.b": True})
        found = self.retrieve(api, project, query="queues", filters={name: "x", "a.b": True}).json()["results"]
        assert [passage["title"] for passage in found] == ["Queues x"]

    def test_no_filter_reaches_beyond_documents_metadata_and_the_own_project(
        self, project: Project, api: APIClient, teach: Teach
    ):
        teach(project, "Ours", "Tasks wait in queues.", metadata={"owner": "us"})
        foreign = teach(ProjectFactory(), "Theirs", "Tasks wait in queues.", metadata={"owner": "them"})
        for filters in (
            {"owner": "them"},
            {"document_id": str(foreign.pk)},
            {"document.name": "Ours"},
            {"metadata.revision": 1},  # of the chunks, which are no concern of whoever asks
            {"text": "Tasks wait in queues."},
        ):
            assert self.retrieve(api, project, query="queues", filters=filters).json()["results"] == []

    @pytest.mark.parametrize(
        "filters",
        [
            *([1], "a", 1, None, {"a": [1]}, {"a": None}, {"a": {"$eq": 1}}, {"$and": [{"a": 1}]}),
            {"a": "x" * 1_001},
            {"x" * 1_001: 1},
            {"metadata.a": 1, "document.metadata.a": 2},
            {str(number): 1 for number in range(21)},
        ],
    )
    def test_a_filter_that_is_not_understood_is_named(self, project: Project, api: APIClient, filters: object):
        refused = self.retrieve(api, project, query="q", filters=filters)
        assert refused.status_code == 400
        assert {error["attr"] for error in refused.json()["errors"]} == {"filters"}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"query": " "},
            {"query": "q", "top_k": 0},
            {"query": "q", "top_k": 51},
            {"query": "q", "top_k": "many"},
            {"query": "q", "filters": [1]},
            {"query": "q", "filters": {"a": [1]}},
            {"query": "q", "filters": {"a": None}},
            {"query": "q", "filters": {"a": {"$gt": 1}}},
            {"query": "q", "filters": {str(number): 1 for number in range(21)}},
        ],
    )
    def test_what_is_not_understood_is_400(self, project: Project, api: APIClient, body: dict[str, object]):
        assert self.retrieve(api, project, **body).status_code == 400

    @pytest.mark.parametrize("name", ["", " ", "a.b", "$or", "x" * 1000, "ü", '"', "a'b", "a]b"])
    def test_no_filter_however_odd_is_a_server_error(self, taught: Project, api: APIClient, name: str):
        for value in ("", "x" * 9000, 10**400, 2**63, 1e308, True, "'; --"):
            answer = self.retrieve(api, taught, query="q", filters={name: value})
            assert answer.status_code in (200, 400), value

    def test_a_deleted_document_is_gone_at_once(self, taught: Project, api: APIClient):
        results = self.retrieve(api, taught, query="exponential backoff").json()["results"]
        document_id = results[0]["document_id"]
        gone = api.delete(f"/knowledge/v1/projects/{taught.pk}/documents/{document_id}/")
        assert gone.status_code == 204
        left = self.retrieve(api, taught, query="exponential backoff").json()["results"]
        assert document_id not in {passage["document_id"] for passage in left}


def test_an_answer_that_could_not_be_kept_is_not_counted(project: Project):
    def count() -> float | None:
        return metrics.REGISTRY.get_sample_value("parley_answers_total", {"outcome": "uncertain"})

    thread = ThreadFactory(project=project)
    before = count() or 0
    services.ask(project=project, question="Is it kept?", thread=thread)
    assert count() == before + 1
    Thread.objects.filter(pk=thread.pk).delete()  # after it was looked up
    with pytest.raises(ThreadNotFound):
        services.ask(project=project, question="Is it kept?", thread=thread)
    assert count() == before + 1


def test_a_vector_database_that_lost_its_data_is_503_and_not_i_dont_know(taught: Project, api: APIClient):
    Library.objects.filter(project=taught).update(vectordb_id="gone")
    response = chat(api, taught, question="How are tasks routed to a queue?")
    assert response.status_code == 503
    assert not Thread.objects.exists()
