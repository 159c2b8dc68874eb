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
OF_RUNS = ("/pause/", "/resume/", "/cancel/")
WITHOUT_A_BODY = (*OF_RUNS, "/reindex/")
REFUSALS_OF_A_BODY = {"400", "408", "411", "413", "415"}

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
    ("get", f"{DOCUMENTS}reindex/"),
    ("post", f"{DOCUMENTS}reindex/"),
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
    told = REFUSALS_OF_A_BODY & set(schema()["paths"][path][method]["responses"])
    if method in ("post", "put", "patch") and not path.endswith(WITHOUT_A_BODY):
        assert told == REFUSALS_OF_A_BODY
    else:
        assert told <= {"400"}


def test_a_conflict_is_told_where_one_can_be():
    calls = [(method, path) for method, path in PROMISED if "409" in schema()["paths"][path][method]["responses"]]
    categories = f"{PROJECT}/categories/"
    one = f"{categories}{{category_id}}/"
    runs = [("post", RUNS), *(("post", f"{RUNS}{{run_id}}{end}") for end in OF_RUNS)]
    starts = [("post", f"{categories}preview/"), ("post", f"{categories}reclassify/")]
    assert calls == [
        ("post", categories),
        ("put", one),
        ("patch", one),
        *starts,
        *runs,
        ("post", f"{DOCUMENTS}reindex/"),
    ]


def test_a_400_is_told_of_a_call_without_a_body_only_where_its_query_can_be_wrong():
    calls = [(method, path) for method, path in PROMISED if method in ("get", "delete")]
    told = [path for method, path in calls if "400" in schema()["paths"][path][method]["responses"]]
    categories = f"{PROJECT}/categories/"
    assert told == [f"{PROJECT}/threads/", categories, f"{categories}{{category_id}}/", RUNS, DOCUMENTS]


def test_a_document_may_come_as_text_or_as_a_file():
    body = schema()["paths"][DOCUMENTS]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    names = {kind: media["schema"]["$ref"].rpartition("/")[2] for kind, media in body.items()}
    form = schema()["components"]["schemas"][names["multipart/form-data"]]
    assert form["required"] == ["file"]
    assert set(form["properties"]) == {"file", "external_id", "title", "source_url", "metadata"}
    assert form["properties"]["file"]["format"] == "binary"
    text = schema()["components"]["schemas"][names["application/json"]]["properties"]["content_type"]
    assert "application/pdf" not in schema()["components"]["schemas"][text["$ref"].rpartition("/")[2]]["enum"]


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


def resolve(described: dict[str, Any]) -> dict[str, Any]:
    """What is described, or what it refers to."""
    while "$ref" in described:
        place: Any = schema()
        for part in described["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        described = place
    return described


@pytest.mark.parametrize(("method", "path"), PROMISED)
def test_every_answer_tells_its_headers(method: str, path: str):
    responses = schema()["paths"][path][method]["responses"]
    for status, response in responses.items():
        headers = {name: resolve(header) for name, header in resolve(response)["headers"].items()}
        required = {name for name, header in headers.items() if header.get("required")}
        assert required - {"X-Request-ID"} == {
            "401": {"WWW-Authenticate"},
            "429": {"Retry-After"},
            "503": {"Retry-After"},
        }.get(status, set())
        assert {"X-Request-ID", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} <= headers.keys()
    assert {"429", "503"} <= responses.keys()
    assert ("406" in responses) == ("stream" not in path)


@pytest.mark.parametrize("path", [path for _, path in PROMISED if path.endswith("/stream")])
def test_a_streams_events_are_described_one_by_one(path: str):
    answers = schema()["paths"][path]["post"]["responses"]["200"]["content"]
    assert answers.keys() == {"text/event-stream"}
    events = [resolve(event)["properties"] for event in resolve(answers["text/event-stream"]["schema"])["oneOf"]]
    fields = {event["event"]["const"]: set(resolve(event["data"]["contentSchema"])["properties"]) for event in events}
    assert fields == {
        "sources": {"relevant_sources"},
        "delta": {"text"},
        "done": set(schema()["components"]["schemas"]["ChatAnswer"]["properties"]),
        "error": {"type", "errors", "status", "retry_after_s"},
    }


def test_ids_that_answers_give_are_linked_to_the_calls_that_take_them():
    calls = {
        call["operationId"]: (method, path)
        for path, of_path in schema()["paths"].items()
        for method, call in of_path.items()
        if method != "parameters"
    }
    linked: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for method, path in PROMISED:
        for response in schema()["paths"][path][method]["responses"].values():
            for link in response.get("links", {}).values():
                linked.setdefault((method, path), set()).add(calls[link["operationId"]])
    documents = {(method, f"{DOCUMENTS}{{document_id}}/") for method in ("get", "patch", "delete")}
    assert linked["post", DOCUMENTS] == documents
    started = {("post", RUNS), *(("post", f"{PROJECT}/categories/{name}/") for name in ("preview", "reclassify"))}
    one_run = {("get", f"{RUNS}{{run_id}}/"), *(("post", f"{RUNS}{{run_id}}{end}") for end in OF_RUNS)}
    assert {start: linked[start] for start in started} == dict.fromkeys(started, one_run)
    assert ("post", "/query/v1/threads/{thread_id}/chat") in linked["post", f"{PROJECT}/chat"]
    every = {call for calls in linked.values() for call in calls}
    assert every >= {(method, path) for method, path in PROMISED if "_id}" in path.replace("{project_id}", "")}
