"""What a web server of several processes tells Prometheus: a real one, asked over HTTP."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from django.db import connection

from tests.crash.conftest import bot, logs_of
from tests.crash.service import Bot, Service, Web, wait_until
from tests.faults.proxy import FaultyProxy
from tests.observability.figures import Figures, scrape
from tests.plugin import neighbours

__all__ = ["bot"]
pytestmark = [pytest.mark.django_db(transaction=True)]

QUESTION = "Is a task that fails retried with exponential backoff?"
OTHER_QUESTION = "Which wine goes with aubergines?"
LIST_ROUTE = "query/v1/projects/<id:project_id>/threads/"
CHAT_ROUTE = "query/v1/projects/<id:project_id>/chat"


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    started = Service(neighbours, "memory://", logs=logs_of(request))
    yield started
    started.close()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_figures_of_two_processes_add_up_and_outlive_one_that_is_killed(service: Service, bot: Bot):
    web = service.start_web(environment={"WEB_CONCURRENCY": "2", "CALLS_PER_MINUTE": "40"})
    list_path = f"/query/v1/projects/{bot.project.pk}/threads/"
    wait_until(lambda: len(children_of(web.child.pid)) == 2, 10, "two processes")

    ask_each_on_a_connection_of_its_own(web, bot, list_path)
    wait_until(lambda: scrape(web.client).total("parley_nudges_total") == 12, 10, "the broker was told of all threads")
    before = scrape(web.client)
    assert before.total("parley_http_requests_total", route=CHAT_ROUTE, method="POST", status="2xx") == 12
    assert before.total("parley_http_requests_total", route=LIST_ROUTE, method="GET", status="2xx") == 10
    assert before.total("parley_http_requests_total", route=LIST_ROUTE, status="4xx") == 2
    assert before.total("parley_http_requests_total", route="none", status="4xx") == 3
    assert before.total("parley_http_request_seconds_count", route=CHAT_ROUTE) == 12
    assert before.total("parley_answers_total", outcome="certain") == 6
    assert before.total("parley_answers_total", outcome="uncertain") == 6
    for step in ("embed", "retrieve", "generate", "total"):
        assert before.total("parley_chat_step_seconds_count", step=step) == 12
    assert before.total("parley_http_requests_in_flight") == 1  # this scrape
    assert before.total("parley_database_pool_connections") >= 16
    assert not [value for value in before.values_of("route") if str(bot.project.pk) in value]

    victim = children_of(web.child.pid)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(set(children_of(web.child.pid)) - {victim}) == 2, 20, "another one in its place")
    web.client.close()  # it may have been connected with the dead one
    with httpx.Client(base_url=web.client.base_url, timeout=60) as client:
        wait_until(lambda: client.get("/healthz").status_code == 200, 10, "it answers")
        after = scrape(client)
        assert {key: value for key, value in before.counters.items() if after.counters.get(key, 0) < value} == {}
        assert after.total("parley_http_requests_total", route=CHAT_ROUTE) == 12
        client.get(list_path, headers={"X-API-KEY": bot.key})
        again = [scrape(client) for _ in range(6)][-1]
    assert again.total("parley_http_requests_total", route=LIST_ROUTE, status="2xx") == 11


def ask_each_on_a_connection_of_its_own(web: Web, bot: Bot, list_path: str) -> None:
    def call(number: int) -> None:
        with httpx.Client(base_url=web.client.base_url, headers={"X-API-KEY": bot.key}, timeout=60) as client:
            question = QUESTION if number % 2 else OTHER_QUESTION
            assert client.post(bot.chat_path, json={"question": question}).status_code == 200
            if number < 10:
                assert client.get(list_path, params={"search": "secret"}).status_code == 200
            else:
                assert client.get(list_path, params={"page_size": "x"}).status_code == 400
            if number < 3:
                assert client.get(f"/no/such/path/{number}").status_code == 404

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(call, range(12)))


@pytest.mark.ci
def test_what_only_neighbours_know_is_left_out_while_they_are_down(service: Service, bot: Bot):
    with (
        FaultyProxy(socket_of_database()) as to_database,
        socket.create_server(("127.0.0.1", 0)) as mute_broker,
    ):
        web = service.start_web(
            environment={
                "DATABASE_URL": at_port(to_database.port),
                "CELERY_BROKER_URL": f"redis://127.0.0.1:{mute_broker.getsockname()[1]}/0",
                "CALLS_PER_MINUTE": "1",
                "METRICS_TOKEN": "a-token",
            }
        )
        path = f"/query/v1/projects/{bot.project.pk}/threads/"
        assert [web.client.get(path, headers={"X-API-KEY": bot.key}).status_code for _ in range(3)] == [200, 429, 429]
        web.client.request("BREW", path)

        def read() -> Figures:
            return scrape(web.client, Authorization="Bearer a-token")

        wait_until(lambda: read().total("parley_database_up") == 1, 10, "the database tells what waits")
        figures = read()
        assert figures.total("parley_unlabelled_threads", age="live") == 0
        assert figures.total("parley_broker_up") == 0
        assert "parley_queue_messages" not in figures.samples
        assert figures.total("parley_throttled_requests_total") == 2
        assert "BREW" not in figures.values_of("method")
        assert figures.total("parley_http_requests_total", method="other") == 1

        to_database.behave("frozen")
        wait_until(lambda: read().total("parley_database_up") == 0, 15, "a frozen database is told")
        assert "parley_unlabelled_threads" not in read().samples
        assert read().total("parley_throttled_requests_total") == 2
        to_database.behave("passing")
        wait_until(lambda: read().total("parley_database_up") == 1, 15, "it is asked again")

    for authorization in ("", "Bearer another", "a-token"):
        refused = web.client.get("/metrics", headers={"Authorization": authorization})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")


def socket_of_database() -> Path:
    settings = connection.settings_dict
    return Path(settings["HOST"]) / f".s.PGSQL.{settings['PORT'] or 5432}"


def at_port(port: int) -> str:
    settings = connection.settings_dict
    return f"postgresql://{settings['USER']}@127.0.0.1:{port}/{settings['NAME']}"
