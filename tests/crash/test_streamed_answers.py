"""Answers that are read while they are written: a real server, and a model in a process of its own that misbehaves."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from query.models import QuestionAnswer, Thread
from tests.crash.conftest import logs_of
from tests.crash.service import Bot, Service, Web, wait_until
from tests.openai_server import MODES, RunningServer, running_openai_server
from tests.plugin import VectorDBServer, neighbours

pytestmark = [pytest.mark.django_db(transaction=True)]

QUESTION = "Is a task that fails retried with exponential backoff?"
ANSWER = "It says: A task that fails is retried with exponential backoff when retry_backoff is set. [1]."
TERMINAL = {"done", "error"}


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: Any


@pytest.fixture(scope="module")
def model() -> Iterator[RunningServer]:
    with running_openai_server(delay_s=0.5) as server:
        yield server


@pytest.fixture(scope="module")
def service(django_db_setup: None, vectordb_server: VectorDBServer, model: RunningServer) -> Iterator[Service]:
    environment = {
        "LLM": "openai",
        "LLM_MODEL": "m",
        "LLM_BASE_URL": model.base_url,
        "LLM_TIMEOUT_S": "3",
        "DATABASE_POOL_SIZE": "1",  # who held it while a model is asked would lock everybody out
    }
    started = Service(neighbours, neighbours.ensure_broker(), environment)
    yield started
    started.close()


@pytest.fixture(scope="module")
def running_web(service: Service) -> Web:
    return service.start_web()


@pytest.fixture
def web(
    request: pytest.FixtureRequest, service: Service, running_web: Web, broker: str, model: RunningServer
) -> Iterator[Web]:
    logs_of(request).extend(service.logs)
    model.set_mode("ok")
    yield running_web
    model.set_mode("ok")  # what hangs is let go


def stream(web: Web, bot: Bot, path: str = "", **body: Any) -> httpx.Response:
    return web.client.post(
        path or f"{bot.chat_path}/stream", json={"question": QUESTION, **body}, headers={"X-API-KEY": bot.key}
    )


def read_events(text: str) -> list[Event]:
    events = []
    for block in text.split("\n\n"):
        if block.startswith("event: "):
            name, data = block.split("\n")
            events.append(Event(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def test_a_streamed_answer_is_the_answer_in_parts_and_is_kept_when_it_is_done(web: Web, bot: Bot):
    response = stream(web, bot)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-store"
    events = read_events(response.text)
    assert [event.name for event in events if event.name != "delta"] == ["sources", "done"]
    done = events[-1].data
    assert done["answer"] == ANSWER == "".join(event.data["text"] for event in events if event.name == "delta")
    assert events[0].data["relevant_sources"] == done["relevant_sources"]
    assert not done["is_uncertain"]
    kept = QuestionAnswer.objects.get()
    assert (str(kept.pk), str(kept.thread_id), kept.answer) == (done["question_answer_id"], done["thread_id"], ANSWER)
    plain = web.client.post(bot.chat_path, json={"question": QUESTION}, headers={"X-API-KEY": bot.key}).json()
    assert plain.keys() == done.keys()


def test_a_follow_up_is_streamed_into_its_thread(web: Web, bot: Bot):
    thread_id = read_events(stream(web, bot).text)[-1].data["thread_id"]
    for path, body in ((f"/query/v1/threads/{thread_id}/chat/stream/", {}), ("", {"thread_id": thread_id})):
        assert read_events(stream(web, bot, path, **body).text)[-1].data["thread_id"] == thread_id
    assert Thread.objects.get().total_questions == 3


def test_a_client_that_accepts_event_streams_alone_is_answered(web: Web, bot: Bot):
    headers = {"X-API-KEY": bot.key, "Accept": "text/event-stream"}
    assert web.client.post(f"{bot.chat_path}/stream", json={"question": QUESTION}, headers=headers).status_code == 200
    refused = web.client.post(f"{bot.chat_path}/stream", json={}, headers=headers)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["attr"] == "question"


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("ok", "slow")])
def test_a_model_that_fails_ends_the_stream_with_one_error_and_leaves_no_trace(
    web: Web, bot: Bot, model: RunningServer, mode: str
):
    model.set_mode(mode)
    events = read_events(stream(web, bot).text)
    assert [event.name for event in events if event.name in TERMINAL] == ["error"]
    error = events[-1].data
    assert (error["status"], error["type"]) == (503, "server_error")
    assert error["errors"][0]["code"] == "unavailable"
    assert error["retry_after_s"] >= 1
    assert not Thread.objects.exists()


def test_whoever_hangs_up_ends_the_models_call_and_leaves_no_trace(web: Web, bot: Bot, model: RunningServer):
    model.set_mode("hang")
    before = model.read_requests()["abandoned"]
    body = json.dumps({"question": QUESTION}).encode()
    url = web.client.base_url
    with socket.create_connection((url.host, url.port), timeout=10) as asker:
        asker.sendall(
            f"POST {bot.chat_path}/stream HTTP/1.1\r\nHost: {url.host}\r\nX-API-KEY: {bot.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        read = b""
        while b"event: sources" not in read:
            read += asker.recv(4096)
        assert web.client.get("/readyz").json()["database"] == "ok"  # by the only connection
    wait_until(lambda: model.read_requests()["abandoned"] > before, 2.5, "the model's call ends")
    assert not Thread.objects.exists()
