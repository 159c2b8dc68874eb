"""A request's line names its id, and nothing of what was asked."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import time
from collections.abc import Callable

import httpx
import pytest

from tests.vectordb.conftest import ServerProcess
from vectordb.client import Client
from vectordb.errors import StorageFailed
from vectordb.server.log_lines import LogFormat, describe_logging

StartServer = Callable[..., ServerProcess]
STORED = "a text that somebody stored"


def read_log(server: ServerProcess, awaited: str) -> str:
    """What the server has written, once this stands in it: a line comes after its answer."""
    deadline = time.monotonic() + 10
    while awaited not in (log := server.log.read_text()):
        assert time.monotonic() < deadline, log
        time.sleep(0.01)
    return log


def test_a_request_is_found_by_the_id_that_its_caller_gave_it(start_server: StartServer):
    server = start_server()
    with Client(server.url, make_headers=lambda: {"X-Request-ID": "follow-me"}) as client:
        library = client.create_library(name="a secret name", dimension=2)
    log = read_log(server, "INFO [follow-me] vectordb.requests: POST /v1/libraries 201")
    assert "a secret name" not in log
    answered = httpx.get(f"{server.url}/v1/libraries/{library.id}", headers={"X-Request-ID": "mine.2"})
    assert answered.headers["X-Request-ID"] == "mine.2"


def test_an_id_that_fits_into_no_line_is_replaced(start_server: StartServer):
    server = start_server()
    given = httpx.get(f"{server.url}/v1/libraries?a=secret", headers={"X-Request-ID": "a b"}).headers["X-Request-ID"]
    assert given not in ("", "a b")
    assert "secret" not in read_log(server, f"[{given}] vectordb.requests: GET /v1/libraries 422")


def test_lines_for_machines_are_json_objects_whatever_a_path_holds(start_server: StartServer):
    server = start_server(flags=("--log-format", "json"))
    assert httpx.get(f"{server.url}/v1/%0a%7b%22x/").status_code == 404
    (line,) = map(json.loads, (row for row in read_log(server, " 404 ").splitlines() if " 404 " in row))
    assert line["logger"] == "vectordb.requests"
    assert line["level"] == "INFO"
    assert line["message"].startswith('GET /v1/\\n{"x/ 404')


def test_probes_write_no_lines(start_server: StartServer):
    server = start_server()
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert "healthz" not in server.log.read_text()


@pytest.mark.parametrize("log_format", ["line", "json"])
@pytest.mark.parametrize("shows_texts", [False, True])
def test_what_an_exception_quotes_stands_in_no_line_unless_it_is_asked_for(log_format: LogFormat, shows_texts: bool):
    settings = describe_logging(log_format, shows_texts=shows_texts)
    stream = settings["handlers"]["stderr"]["stream"] = io.StringIO()
    settings["root"]["handlers"] = []
    settings["loggers"] = {"a.room": {"handlers": ["stderr"], "propagate": False}}
    logging.config.dictConfig(settings)
    try:
        try:
            raise KeyError(STORED)
        except KeyError as error:
            raise StorageFailed("the library's storage failed: IOError") from error
    except StorageFailed:
        logging.getLogger("a.room").exception("it failed")
    written = stream.getvalue()
    assert (STORED in written) is shows_texts
    assert "KeyError" in written
    assert "StorageFailed: the library's storage failed: IOError" in written
