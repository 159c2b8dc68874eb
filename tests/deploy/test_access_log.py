"""A path cannot forge lines of the access log."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

from gunicorn.config import Config

from deploy.access_log import EscapingLogger


def test_line_ends_and_control_characters_are_written_encoded():
    path = "/x\n2030-01-01 FAKE\x1b[31m\x00 \xc3\xa9"
    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1"}
    answer = SimpleNamespace(status="200 OK", sent=1, response_length=1, headers=[])
    request = SimpleNamespace(headers=[])
    atoms = EscapingLogger(Config()).atoms(answer, request, environ, timedelta(seconds=1))
    assert atoms["U"] == "/x%0A2030-01-01%20FAKE%1B%5B31m%00%20%C3%A9"
