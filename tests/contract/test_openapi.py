"""The description at /schema: valid, without a warning, and with every call that the contract promises."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from django.test import Client

PROJECT = "/query/v1/projects/{project_id}"
RUNS = f"{PROJECT}/categorisation/runs/"
DOCUMENTS = "/knowledge/v1/projects/{project_id}/documents/"
WITHOUT_A_BODY = ("/pause/", "/resume/", "/cancel/")

PROMISED = [
    ("post", f"{PROJECT}/chat"),
    ("post", f"{PROJECT}/chat/stream"),
    ("post", "/query/v1/threads/{thread_id}/chat"),
    ("post", "/query/v1/threads/{thread_id}/chat/stream"),
    ("post", f"{PROJECT}/retrieval"),
    ("get", f"{PROJECT}/threads/"),
    ("get", f"{PROJECT}/threads/{{thread_id}}/"),
    ("patch", f"{PROJECT}/threads/{{thread_id}}/"),
    ("delete", f"{PROJECT}/threads/{{thread_id}}/category/"),
    ("get", f"{PROJECT}/categories/"),
    ("post", f"{PROJECT}/categories/"),
    ("get", f"{PROJECT}/categories/{{category_id}}/"),
    ("put", f"{PROJECT}/categories/{{category_id}}/"),
    ("patch", f"{PROJECT}/categories/{{category_id}}/"),
    ("delete", f"{PROJECT}/categories/{{category_id}}/"),
    ("post", f"{PROJECT}/categories/preview/"),
    ("post", f"{PROJECT}/categories/reclassify/"),
    ("get", RUNS),
    ("post", RUNS),
    ("get", f"{RUNS}{{run_id}}/"),
    ("post", f"{RUNS}{{run_id}}/pause/"),
    ("post", f"{RUNS}{{run_id}}/resume/"),
    ("post", f"{RUNS}{{run_id}}/cancel/"),
    ("get", DOCUMENTS),
    ("post", DOCUMENTS),
    ("get", f"{DOCUMENTS}{{document_id}}/"),
    ("patch", f"{DOCUMENTS}{{document_id}}/"),
    ("delete", f"{DOCUMENTS}{{document_id}}/"),
]


@cache
def schema() -> dict[str, Any]:
    return Client().get("/schema?format=json").json()


def test_the_schema_is_valid_and_gives_no_warning():
    outcome = subprocess.run(
        [sys.executable, "manage.py", "spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null"],
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize(("method", "path"), PROMISED)
def test_a_promised_call_is_described(method: str, path: str):
    assert method in schema()["paths"][path]


def test_nothing_else_is_described():
    served = {(method, path) for path, calls in schema()["paths"].items() for method in calls if method != "parameters"}
    assert served == set(PROMISED)


@pytest.mark.parametrize(("method", "path"), PROMISED)
def test_a_call_tells_its_key_and_the_errors_it_can_answer(method: str, path: str):
    call = schema()["paths"][path][method]
    assert call["security"] == [{"APIKey": []}]
    assert {"401", "403", "404"} <= set(call["responses"])


@pytest.mark.parametrize(("method", "path"), PROMISED)
def test_what_a_body_can_be_refused_for_is_told_where_one_is_read(method: str, path: str):
    told = {"400", "413", "415"} & set(schema()["paths"][path][method]["responses"])
    if method in ("post", "put", "patch") and not path.endswith(WITHOUT_A_BODY):
        assert told == {"400", "413", "415"}
    else:
        assert told <= {"400"}


def test_a_conflict_is_told_where_one_can_be():
    calls = [(method, path) for method, path in PROMISED if "409" in schema()["paths"][path][method]["responses"]]
    categories = f"{PROJECT}/categories/"
    one = f"{categories}{{category_id}}/"
    runs = [("post", RUNS), *(("post", f"{RUNS}{{run_id}}{end}") for end in WITHOUT_A_BODY)]
    starts = [("post", f"{categories}preview/"), ("post", f"{categories}reclassify/")]
    assert calls == [("post", categories), ("put", one), ("patch", one), *starts, *runs]


def test_a_400_is_told_of_a_call_without_a_body_only_where_its_query_can_be_wrong():
    calls = [(method, path) for method, path in PROMISED if method in ("get", "delete")]
    told = [path for method, path in calls if "400" in schema()["paths"][path][method]["responses"]]
    categories = f"{PROJECT}/categories/"
    assert told == [f"{PROJECT}/threads/", categories, f"{categories}{{category_id}}/", RUNS, DOCUMENTS]


def test_the_thread_row_has_the_fields_of_the_contract():
    row = schema()["components"]["schemas"]["ThreadRow"]["properties"]
    assert list(row) == [
        "id",
        "project",
        "created_at",
        "updated_at",
        "last_activity_at",
        "first_question",
        "total_questions",
        "is_uncertain",
        "category",
        "category_source",
        "category_confidence",
    ]
