"""What a line says of exceptions: all that helps, and no text of anybody's."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError

from observability.discretion import describe, write_traceback
from observability.logs import TEXTS, LogFormat, configure
from query.errors import LLMUnavailable

SECRET = "what does the patient in room 7 suffer from"


class Written:
    """A logger whose lines are kept."""

    def __init__(self, log_format: LogFormat, *, shows_texts: bool = False) -> None:
        settings = configure(log_format, "DEBUG", shows_texts=shows_texts)
        self._stream = settings["handlers"]["stderr"]["stream"] = io.StringIO()
        settings["root"]["handlers"] = []
        settings["loggers"] = {"a.room": {"handlers": ["stderr"], "propagate": False, "level": "DEBUG"}}
        logging.config.dictConfig(settings)
        self.logger = logging.getLogger("a.room")

    @property
    def text(self) -> str:
        return self._stream.getvalue()


def raise_chain() -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise LLMUnavailable("The model did not answer in time.") from error
    except LLMUnavailable:
        raise ExceptionGroup(SECRET, [ValueError(SECRET), OSError(2, "No such file", SECRET)]) from None


def raise_in_between() -> None:
    try:
        raise IntegrityError(f"null value\nDETAIL:  Failing row contains ({SECRET})")
    except IntegrityError:
        raise RuntimeError(SECRET)  # noqa: B904


@pytest.mark.parametrize("log_format", ["line", "json"])
@pytest.mark.parametrize("fail", [raise_chain, raise_in_between])
def test_an_exception_is_told_without_what_it_quotes(log_format: LogFormat, fail: Callable[[], None]):
    written = Written(log_format)
    try:
        fail()
    except Exception as error:
        error.add_note(SECRET)
        written.logger.exception("it failed: %s, %r", error, ValueError(SECRET))
        written.logger.error(error)
        written.logger.info("%(exc)s", {"exc": error})
    assert SECRET not in written.text
    assert fail.__name__ in written.text  # where it came from
    assert type_of_failure(fail) in written.text


def type_of_failure(fail: Callable[[], None]) -> str:
    return "ExceptionGroup" if fail is raise_chain else "IntegrityError"


@pytest.mark.parametrize("log_format", ["line", "json"])
def test_what_is_asked_for_is_shown(log_format: LogFormat):
    written = Written(log_format, shows_texts=True)
    try:
        raise_in_between()
    except RuntimeError:
        written.logger.exception("it failed")
    assert written.text.count(SECRET) >= 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(SECRET), "ValueError"),
        (KeyError(SECRET), "KeyError"),
        (
            FileNotFoundError(2, "No such file or directory", SECRET),
            "FileNotFoundError: [Errno 2] No such file or directory",
        ),
        (ConnectionError(SECRET), "ConnectionError"),
        (AttributeError("'str' object has no attribute 'x'"), "AttributeError: 'str' object has no attribute 'x'"),
        (OperationalError(f"deadlock detected\nDETAIL:  {SECRET}"), "OperationalError: deadlock detected"),
        (LLMUnavailable("The model is down."), "LLMUnavailable: The model is down."),
    ],
)
def test_a_message_stands_there_where_it_is_nobodys_text(error: Exception, told: str):
    assert describe(error) == told


def test_a_traceback_reads_as_pythons_own():
    try:
        raise_chain()
    except ExceptionGroup as group:
        lines = write_traceback(group).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "in raise_chain" in lines[-8] or any("in raise_chain" in line for line in lines)
    assert "FileNotFoundError: [Errno 2] No such file" in lines


def test_a_cycle_of_causes_ends():
    first, second = ValueError(SECRET), RuntimeError(SECRET)
    first.__cause__, second.__cause__ = second, first
    assert write_traceback(first).count("Error") == 2


def test_celerys_line_on_a_failed_task_quotes_nothing():
    written = Written("json")
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        context = {
            "name": "a.task",
            "id": "1",
            "description": "raised unexpected",
            "exc": repr(error),
            "traceback": SECRET,
        }
        written.logger.error(
            "Task %(name)s[%(id)s] %(description)s: %(exc)s", context, exc_info=True, extra={"data": context}
        )
    told = json.loads(written.text)
    assert told["message"] == "Task a.task[1] raised unexpected: ValueError"
    assert SECRET not in written.text


def test_what_libraries_attach_to_a_record_is_left_out_but_for_the_requests_id():
    written = Written("json")
    request: Any = SimpleNamespace(request_id="its-id", path=SECRET)
    written.logger.warning("Bad Request: %s", "/x", extra={"request": request, "status_code": 400, "sql": SECRET})
    told = json.loads(written.text)
    assert told.keys() == {"time", "level", "logger", "message", "request_id", "process", "thread"}
    assert told["request_id"] == "its-id"


def test_at_debug_libraries_stay_as_quiet_as_they_were():
    configured = configure("line", "DEBUG")
    assert configured["root"]["level"] == "INFO"
    assert configured["loggers"]["query"]["level"] == "DEBUG"
    assert configured["loggers"][TEXTS]["level"] == "CRITICAL"
    assert configure("line", "ERROR")["root"]["level"] == "ERROR"
    assert configure("line", "ERROR", shows_texts=True)["loggers"][TEXTS]["level"] == "INFO"


@pytest.mark.parametrize("log_format", ["line", "json"])
@pytest.mark.parametrize("shows_texts", [False, True])
def test_what_opens_somebodys_choice_of_reports_is_never_written(log_format: LogFormat, shows_texts: bool):
    written = Written(log_format, shows_texts=shows_texts)
    written.logger.warning("Method Not Allowed (%s): %s", "PUT", "/reports/unsubscribe/tok.en")
    try:
        raise LLMUnavailable("It is down.")
    except LLMUnavailable:
        written.logger.exception("Internal Server Error: %s", "/reports/unsubscribe/tok.en/")
    assert "tok.en" not in written.text
    assert "Method Not Allowed (PUT): /reports/unsubscribe/..." in written.text
    assert "It is down." in written.text, "the lines below it stand there"
    if log_format == "json":
        assert all(json.loads(line)["level"] for line in written.text.splitlines())
