"""A path cannot forge lines of the access log."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from deploy.access_log import EscapingLogger


def path_as_written(path: str) -> str:
    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1"}
    answer = SimpleNamespace(status="200 OK", sent=1, response_length=1, headers=[])
    request = SimpleNamespace(headers=[])
    return EscapingLogger(Config()).atoms(answer, request, environ, timedelta(seconds=1))["U"]


def test_line_ends_and_control_characters_are_written_encoded():
    path = "/x\n2030-01-01 FAKE\x1b[31m\x00 \xc3\xa9"
    assert path_as_written(path) == "/x%0A2030-01-01%20FAKE%1B%5B31m%00%20%C3%A9"


def test_what_opens_somebodys_choice_of_reports_is_not_written():
    assert path_as_written("/reports/unsubscribe/abc.def/") == "/reports/unsubscribe/..."


def test_nor_is_it_where_the_request_failed(caplog: pytest.LogCaptureFixture):
    logger = EscapingLogger(Config())
    logger.exception("Error handling request %s", "/reports/unsubscribe/abc.def?x=1")
    assert set(caplog.messages) == {"Error handling request /reports/unsubscribe/..."}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("Invalid request from ip=10.0.0.9: Invalid HTTP Header: 'X-API-KEY parley_secret'", "Invalid HTTP Header"),
        (
            "Invalid request from ip=2001:db8::1: Invalid HTTP request line: 'GET /?q=secret'",
            "Invalid HTTP request line",
        ),
    ],
)
def test_of_a_broken_request_nothing_that_it_held_is_told(caplog: pytest.LogCaptureFixture, written: str, told: str):
    logger = EscapingLogger(Config())
    logger.warning(written)
    logger.warning("Worker %s: %s", 7, "secretive")
    first, second = caplog.messages[0], caplog.messages[-1]
    assert first.endswith(f": {told}")
    assert first.startswith(written.partition(": ")[0])
    assert second == "Worker 7: secretive"


def test_of_a_request_that_failed_the_path_is_told_without_its_query(caplog: pytest.LogCaptureFixture):
    logger = EscapingLogger(Config())
    logger.exception("Error handling request %s %s", "GET", "/threads/?search=secret")
    assert set(caplog.messages) == {"Error handling request GET /threads/"}
