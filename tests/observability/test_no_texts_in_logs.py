"""No question, answer, document or key comes into any process's log, or to Sentry, whatever fails, at the level that
says most.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from rest_framework.test import APIClient

from categorisation import tasks
from deploy.local.process import Child
from query.models import Thread
from tests.crash.conftest import bot, logs_of
from tests.crash.service import Bot, Service, Web, wait_until
from tests.observability.ingest import Ingest, running_ingest
from tests.plugin import VectorDBServer, _test_database_url, neighbours

__all__ = ["bot"]
pytestmark = [pytest.mark.broker, pytest.mark.django_db(transaction=True)]

SECRET = "quokkaxylophone"
PASSWORD = "marmotbassoon"
QUESTION = f"Is a task of {SECRET} that fails retried with exponential backoff?"


@pytest.fixture
def sentry() -> Iterator[Ingest]:
    with running_ingest() as ingest:
        yield ingest


@pytest.fixture
def service(request: pytest.FixtureRequest, broker: str, sentry: Ingest) -> Iterator[Service]:
    environment = {
        "LOG_LEVEL": "DEBUG",
        "SENTRY_DSN": sentry.dsn,
        "SENTRY_TRACES_SAMPLE_RATE": "1",
        "DATABASE_URL": url_with_password(),
        "LLM": "tests.observability.talkative.TalkativeLLM",
        "CLASSIFIER": "tests.observability.talkative.TalkativeClassifier",
        "EMBEDDER": "tests.observability.talkative.TalkativeEmbedder",
    }
    started = Service(neighbours, broker, environment, logs=logs_of(request))
    yield started
    started.close()


def url_with_password() -> str:
    """The test's database, which asks for none and is given one all the same."""
    return _test_database_url().replace("@", f":{PASSWORD}@", 1)


def test_whatever_fails_no_text_and_no_key_is_in_any_log_or_report(
    service: Service, sentry: Ingest, bot: Bot, vectordb_server: VectorDBServer
):
    web = service.start_web(environment={"LOG_FORMAT": "json"})
    worker = service.start_worker("live,ingest")
    ask_what_fails(web, bot)
    ask_strangely(web, bot)
    send_broken_headers(web, bot)
    ask_vectordb_nonsense(vectordb_server)
    fail_in_the_worker(web, bot, worker)
    logs = {
        "web": web.child.command.log_path.read_text(),
        "worker": worker.command.log_path.read_text(),
        "vectordb": (neighbours.folder / "log" / "vectordb.log").read_text(),
    }
    assert "RuntimeError" in logs["web"]
    assert "KeyError" in logs["web"]
    assert "Invalid request from ip=127.0.0.1: Invalid HTTP" in logs["web"]
    assert "(ValueError)" in logs["worker"]
    assert_reported(sentry)
    logs["sentry"] = "\n".join(sentry.envelopes)
    secrets = [SECRET, PASSWORD, bot.key, bot.key.partition("_")[2][8:]]
    secrets += [os.environ["VECTORDB_API_KEY"], os.environ["SECRET_KEY"]]
    for name, log in logs.items():
        found = [line for line in log.splitlines() if any(secret in line for secret in secrets)]
        assert not found, (name, found[:3])


def assert_reported(sentry: Ingest) -> None:
    """What failed is there, and tells where."""
    wanted = {("web", "RuntimeError"), ("task", "ValueError")}
    wait_until(lambda: wanted <= {kind_of(event) for event in sentry.events}, 15, "errors are reported")
    (event, *_) = [event for event in sentry.events if kind_of(event) == ("web", "RuntimeError")]
    assert event["transaction"] == "/query/v1/projects/{project_id}/chat"
    assert event["request"].keys() == {"method", "url"}
    assert len(event["tags"]["request_id"]) == 32
    caused, raised = event["exception"]["values"]
    assert (caused["type"], raised["type"]) == ("KeyError", "RuntimeError")
    assert raised["stacktrace"]["frames"][-1]["function"] == "generate"
    assert "vars" not in raised["stacktrace"]["frames"][-1]
    transactions = {event["transaction"] for event in sentry.events if event.get("type") == "transaction"}
    assert {"/query/v1/projects/{project_id}/threads/", "categorisation.tasks.classify_thread"} <= transactions


def kind_of(event: dict[str, Any]) -> tuple[str, str]:
    values = event.get("exception", {}).get("values") or [{}]
    return ("web" if "request" in event else "task"), values[-1].get("type", "")


def ask_what_fails(web: Web, bot: Bot) -> None:
    headers = {"X-API-KEY": bot.key}
    assert web.ask(bot, QUESTION)[0].status_code == 500
    streamed = web.client.post(f"{bot.chat_path}/stream", json={"question": QUESTION}, headers=headers)
    assert "event: error" in streamed.text
    answered, _ = web.ask(bot, f"{QUESTION} please answer")
    assert answered.status_code == 200, answered.text
    follow_up = {"question": QUESTION, "thread_id": answered.json()["thread_id"]}
    assert web.client.post(bot.chat_path, json=follow_up, headers=headers).status_code == 500


def ask_strangely(web: Web, bot: Bot) -> None:
    headers = {"X-API-KEY": bot.key}
    threads = f"/query/v1/projects/{bot.project.pk}/threads/"
    assert web.client.get(threads, params={"search": SECRET}, headers=headers).status_code == 200
    assert web.client.get(threads, params={"search": SECRET, "page_size": SECRET}, headers=headers).status_code == 400
    assert web.client.get(threads, params={SECRET: SECRET}, headers={"X-API-KEY": f"{bot.key}x"}).status_code == 401
    assert web.client.get("/no/such/path", params={"question": SECRET}, headers=headers).status_code == 404
    for body in (f'{{"question": "{SECRET}', f'{{"question": ["{SECRET}"]}}', f'{{"thread_id": "{SECRET}"}}', SECRET):
        sent = web.client.post(bot.chat_path, content=body, headers={**headers, "Content-Type": "application/json"})
        assert sent.status_code == 400
    form = {"email": f"{SECRET}@example.com", "password": SECRET}
    assert web.client.post("/admin/login/", data=form).status_code == 403


def send_broken_headers(web: Web, bot: Bot) -> None:
    url = web.client.base_url
    for line in (f"X-API-KEY {bot.key}", f"X-API-KEY : {bot.key}", f"X-Bad\x01{SECRET}: {bot.key}"):
        with socket.create_connection((url.host, url.port), timeout=10) as client:
            client.sendall(f"GET /healthz?q={SECRET} HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
            assert client.recv(4096).startswith(b"HTTP/1.1 400")
    with socket.create_connection((url.host, url.port), timeout=10) as client:
        client.sendall(f"{SECRET} {SECRET}\r\n\r\n".encode())
        assert b"400" in client.recv(4096)


def ask_vectordb_nonsense(vectordb_server: VectorDBServer) -> None:
    headers = {"X-API-KEY": vectordb_server.api_key}
    with httpx.Client(base_url=vectordb_server.url, headers=headers, timeout=10) as client:
        assert client.post("/v1/libraries", json={"name": [SECRET], SECRET: 1}).status_code == 422
        assert client.get("/v1/libraries", params={"cursor": SECRET}).status_code == 422
        assert client.post("/v1/libraries/nothing/search", json={"embedding": SECRET}).status_code in (404, 422)
        assert client.get("/v1/libraries", headers={"X-API-KEY": SECRET}).status_code == 401


def fail_in_the_worker(web: Web, bot: Bot, worker: Child) -> None:
    content = {"title": SECRET, "content": f"# {SECRET}\n\nAn unbearable {SECRET}.", "content_type": "text/markdown"}
    documents = f"/knowledge/v1/projects/{bot.project.pk}/documents/"
    assert web.client.post(documents, json=content, headers={"X-API-KEY": bot.key}).status_code == 201
    tasks.classify_thread.delay(SECRET)
    wait_for_lines(worker, "could not be classified", "indexing document", "raised unexpected: ValueError")


def wait_for_lines(worker: Child, *awaited: str) -> None:
    def read() -> str:
        return worker.command.log_path.read_text()

    wait_until(lambda: all(each in read() for each in awaited), 30, f"the worker tells {awaited}")


def test_texts_are_written_where_they_are_asked_for(bot: Bot, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "texts"):
        answer: Any = APIClient(headers={"X-API-KEY": bot.key}).post(bot.chat_path, {"question": QUESTION}).json()
    assert Thread.objects.get().first_question == QUESTION
    (line,) = (record.getMessage() for record in caplog.records if record.name == "texts")
    assert line == f"asked {QUESTION!r}, answered {answer['answer']!r}"
