"""What leaves for Sentry, and that nothing does unless somebody says where to."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from config.environment import Environment
from config.error_reports import keep_harmless, keep_harmless_breadcrumb
from observability import request_id

SECRET = "what does the patient suffer from"
ASK = """
import sys
import django; django.setup()
from django.conf import settings
print("sentry_sdk" in sys.modules)
from config.error_reports import report_errors
for sends_texts in (False, True):
    asked = {"sentry_dsn": "http://public@127.0.0.1:1/1", "sentry_send_texts": sends_texts}
    report_errors(type(settings.ENVIRONMENT)(**asked))
    options = sys.modules["sentry_sdk"].get_client().options
    print(options["include_local_variables"], options["max_request_body_size"], options["before_send"] is None)
"""


def test_the_sdk_is_imported_only_where_it_is_told_where_to_report_and_sends_texts_only_when_asked():
    environment = {**os.environ, "SENTRY_DSN": ""}
    run = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True)
    assert run.stdout.splitlines() == ["False", "False never False", "True medium True"], run.stderr


@pytest.mark.parametrize(("name", "value"), [("sentry_dsn", "nowhere"), ("sentry_traces_sample_rate", "2")])
def test_what_is_no_address_and_no_share_is_refused(name: str, value: str):
    with pytest.raises(ValidationError, match=name):
        Environment(**{name: value})


def test_of_an_event_only_what_is_known_to_be_harmless_is_kept():
    event = {
        "event_id": "1",
        "level": "error",
        "transaction": "/chat",
        "request": {"method": "POST", "url": f"http://x/y?q={SECRET}", "data": SECRET, "headers": {"A": SECRET}},
        "extra": {"celery-job": {"args": [SECRET]}},
        "user": {"id": SECRET},
        "modules": {SECRET: "1"},
        "contexts": {"trace": {"trace_id": "t", "data": {"http.query": SECRET}}, "other": {"a": SECRET}},
        "exception": {
            "values": [
                {"type": "ValueError", "module": None, "value": SECRET},
                {"type": "AttributeError", "module": None, "value": "'str' object has no attribute 'x'"},
                {"type": "LLMUnavailable", "module": "query.errors", "value": f"The model is down.\n{SECRET}"},
                {"type": "IntegrityError", "module": "django.db.utils", "value": f"DETAIL: {SECRET}"},
            ]
        },
        "spans": [{"op": "db", "description": "SELECT %s", "data": {"db.params": SECRET}}],
        "something-new": SECRET,
    }
    with request_id.serving("its-id"):
        kept = keep_harmless(event, {})  # type: ignore[arg-type]
    assert SECRET not in str(kept)
    assert kept["request"] == {"method": "POST", "url": "http://x/y"}
    assert kept["tags"] == {"request_id": "its-id"}
    values = [each.get("value") for each in kept["exception"]["values"]]
    assert values == [None, "'str' object has no attribute 'x'", "The model is down.", None]
    assert kept["spans"] == [{"op": "db", "description": "SELECT %s"}]


@pytest.mark.parametrize("url", ["https://x/reports/unsubscribe/tok.en", "https://x/bots/reports/unsubscribe/tok.en/y"])
def test_what_opens_somebodys_choice_of_reports_is_not_reported(url: str):
    record = logging.LogRecord("a", logging.WARNING, "", 0, "Method Not Allowed (%s): %s", ("PUT", url), None)
    event = {"request": {"method": "PUT", "url": url}, "transaction": url, "logentry": {"formatted": url}}
    kept = keep_harmless(event, {"log_record": record})  # type: ignore[arg-type]
    crumb = keep_harmless_breadcrumb({"message": url}, {"log_record": record})
    assert "tok.en" not in f"{kept} {crumb}"
    assert kept["request"]["url"].endswith("/reports/unsubscribe/...")


def test_a_log_line_is_reported_as_it_stands_in_the_log():
    record = logging.LogRecord("a", logging.ERROR, "", 0, "failed: %s, %d", (ValueError(SECRET), 7), None)
    kept = keep_harmless({"logentry": {"formatted": SECRET, "params": [SECRET]}}, {"log_record": record})
    assert kept["logentry"] == {"formatted": "failed: ValueError, 7"}
    crumb = keep_harmless_breadcrumb(
        {"message": SECRET, "data": {"a": SECRET}, "level": "error"}, {"log_record": record}
    )
    assert crumb == {"message": "failed: ValueError, 7", "level": "error"}
    assert keep_harmless_breadcrumb({"category": "http", "message": SECRET}, {}) is None
