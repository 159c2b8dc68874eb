"""Which ids are taken, and what stands in a line."""

from __future__ import annotations

import io
import json
import logging
import logging.config

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability import request_id
from observability.logs import LogFormat, configure


@pytest.mark.parametrize("offered", ["a", "0af7651916cd43dd8448eb211c80319c", "web-1.2_3", "x" * 64])
def test_an_id_that_a_proxy_gave_is_kept(offered: str):
    assert request_id.accept_or_make(offered) == offered


@given(st.none() | st.text())
def test_whatever_is_offered_an_id_fits_into_a_line(offered: str | None):
    taken = request_id.accept_or_make(offered)
    assert taken.isascii()
    assert taken.isprintable()
    assert 0 < len(taken) <= 64
    assert not set(taken) & set(" \"'{}[]%\\")


def test_two_requests_without_an_id_get_different_ones():
    assert request_id.accept_or_make(None) != request_id.accept_or_make("not an id")


def test_what_is_done_for_a_request_ends_with_it():
    with request_id.serving("outer"):
        with request_id.serving("inner"):
            assert request_id.current() == "inner"
        assert request_id.current() == "outer"
    assert request_id.current() == request_id.NONE


def write_line(log_format: LogFormat) -> str:
    """A line, and a fault with its traceback, as the service would write them."""
    settings = configure(log_format, "INFO")
    stream = io.StringIO()
    settings["handlers"]["stderr"]["stream"] = stream
    settings["root"]["handlers"] = []
    settings["loggers"] = {"a.room": {"handlers": ["stderr"], "propagate": False}}
    logging.config.dictConfig(settings)
    logger = logging.getLogger("a.room")
    try:
        with request_id.serving("abc"):
            raise ValueError("line one\nline two")
    except ValueError:
        with request_id.serving("abc"):
            logger.exception("it failed\nfor %s", "reasons")
    return stream.getvalue()


def test_a_line_for_people_names_its_request():
    assert "ERROR [abc] a.room: it failed" in write_line("line")


def test_a_line_for_machines_is_one_json_object_whatever_it_holds():
    (line,) = write_line("json").splitlines()
    told = json.loads(line)
    assert told["request_id"] == "abc"
    assert told["level"] == "ERROR"
    assert told["logger"] == "a.room"
    assert told["message"] == "it failed\nfor reasons"
    assert told["exc_info"].endswith("ValueError")
