"""A request is found by its id in the lines of every process that had to do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.process import Child
from tests.crash.conftest import logs_of
from tests.crash.service import Bot, Service, Web, wait_until
from tests.plugin import VectorDBServer, neighbours

pytestmark = [pytest.mark.broker, pytest.mark.django_db(transaction=True)]

QUESTION = "Is a task that fails retried with exponential backoff?"


@pytest.fixture(scope="module")
def service(django_db_setup: None, vectordb_server: VectorDBServer) -> Iterator[Service]:
    environment = {"LOG_FORMAT": "json", "CLASSIFIER": "dummy", "DUMMY_CLASSIFIER_SECONDS": "0"}
    started = Service(neighbours, neighbours.ensure_broker(), environment)
    yield started
    started.close()


@pytest.fixture(scope="module")
def running(service: Service) -> tuple[Web, Child]:
    return service.start_web(), service.start_worker()


@pytest.fixture
def processes(
    request: pytest.FixtureRequest, service: Service, running: tuple[Web, Child], broker: str
) -> tuple[Web, Child]:
    logs_of(request).extend(service.logs)
    return running


def lines_of(path: Path, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["request_id"] == request_id]


@pytest.mark.parametrize("way", ["chat", "chat/stream"])
def test_a_chat_is_found_by_its_id_in_the_web_servers_and_the_workers_lines(
    processes: tuple[Web, Child], bot: Bot, way: str
):
    web, worker = processes
    request_id = f"follow-me.{way.replace('/', '.')}"
    headers = {"X-API-KEY": bot.key, "X-Request-ID": request_id}
    path = bot.chat_path.removesuffix("chat") + way
    answer = web.client.post(path, json={"question": QUESTION}, headers=headers)
    assert answer.headers["X-Request-ID"] == request_id
    wait_until(lambda: lines_of(web.child.command.log_path, request_id), 5, "the web server logs it")
    (line,) = lines_of(web.child.command.log_path, request_id)
    assert line["logger"] == "gunicorn.access"
    assert QUESTION not in web.child.command.log_path.read_text()
    searched = (neighbours.folder / "log" / "vectordb.log").read_text()
    assert f"[{request_id}] vectordb.requests: POST /v1/libraries/" in searched
    wait_until(lambda: lines_of(worker.command.log_path, request_id), 20, "the worker labelled it")
    (line,) = lines_of(worker.command.log_path, request_id)
    assert "categorisation.tasks.classify_thread" in line["message"]


def test_a_request_without_an_id_gets_one(processes: tuple[Web, Child]):
    web, _ = processes
    given = [web.client.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"] for sent in ("", "a b")]
    assert len({*given, "", "a b"}) == 4
