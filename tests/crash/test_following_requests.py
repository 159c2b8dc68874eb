"""A request is found by its id in the lines of every process that had to do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import logs_of
from tests.crash.service import Bot, Service, wait_until
from tests.plugin import neighbours

pytestmark = [pytest.mark.broker, pytest.mark.django_db(transaction=True)]

QUESTION = "Is a task that fails retried with exponential backoff?"


@pytest.fixture
def service(request: pytest.FixtureRequest, broker: str) -> Iterator[Service]:
    environment = {"LOG_FORMAT": "json", "CLASSIFIER": "dummy", "DUMMY_CLASSIFIER_SECONDS": "0"}
    started = Service(neighbours, broker, environment, logs=logs_of(request))
    yield started
    started.close()


def lines_of(path: Path, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["request_id"] == request_id]


@pytest.mark.parametrize("way", ["chat", "chat/stream"])
def test_a_chat_is_found_by_its_id_in_the_web_servers_and_the_workers_lines(service: Service, bot: Bot, way: str):
    web, worker = service.start_web(), service.start_worker()
    headers = {"X-API-KEY": bot.key, "X-Request-ID": "follow-me.1"}
    path = bot.chat_path.removesuffix("chat") + way
    answer = web.client.post(path, json={"question": QUESTION}, headers=headers)
    assert answer.headers["X-Request-ID"] == "follow-me.1"
    wait_until(lambda: lines_of(web.child.command.log_path, "follow-me.1"), 5, "the web server logs it")
    (line,) = lines_of(web.child.command.log_path, "follow-me.1")
    assert line["logger"] == "gunicorn.access"
    assert QUESTION not in web.child.command.log_path.read_text()
    searched = (neighbours.folder / "log" / "vectordb.log").read_text()
    assert "[follow-me.1] vectordb.requests: POST /v1/libraries/" in searched
    wait_until(lambda: lines_of(worker.command.log_path, "follow-me.1"), 20, "the worker labelled it")
    (line,) = lines_of(worker.command.log_path, "follow-me.1")
    assert "categorisation.tasks.classify_thread" in line["message"]


def test_a_request_without_an_id_gets_one(service: Service, bot: Bot):
    web = service.start_web()
    given = [web.client.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"] for sent in ("", "a b")]
    assert len({*given, "", "a b"}) == 4
