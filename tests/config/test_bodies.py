"""How large bodies may be: each call's own limit, and how many values one holds."""

from __future__ import annotations

import io
import json
import tracemalloc

import orjson
import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError

from categorisation.services.categories import (
    MAX_CATEGORIES,
    MAX_DESCRIPTION_LENGTH,
    MAX_EXAMPLE_LENGTH,
    MAX_EXAMPLES,
)
from config.middleware import OptionalTrailingSlashMiddleware, RequestSizeLimitMiddleware
from config.parsers import StrictJSONParser, count_values
from query.serializers import MAX_QUESTION_LENGTH

MIB = 1024 * 1024
SMALL = settings.MAX_REQUEST_SIZE_BYTES
DOCUMENT = settings.MAX_DOCUMENT_BODY_SIZE_BYTES
FORM = settings.MAX_FORM_SIZE_BYTES
JSON, MULTIPART = "application/json", "multipart/form-data; boundary=x"
WIDEST = "\U0001f600"  # JSON may write it as twelve bytes
NOWHERE = "00000000-0000-0000-0000-000000000000"
A_CATEGORY = {
    "title": WIDEST * 100,
    "description": WIDEST * MAX_DESCRIPTION_LENGTH,
    "examples": [WIDEST * MAX_EXAMPLE_LENGTH] * MAX_EXAMPLES,
}


@pytest.mark.parametrize(
    ("method", "path", "kind", "limit"),
    [
        ("POST", "/query/v1/projects/{}/chat", JSON, SMALL),
        ("POST", "/query/v1/projects/{}/chat/", MULTIPART, SMALL),
        ("POST", "/query/v1/projects/{}/chat/stream", JSON, SMALL),
        ("POST", "/query/v1/projects/{}/retrieval", JSON, SMALL),
        ("POST", "/query/v1/projects/{}/categories/", JSON, SMALL),
        ("POST", "/query/v1/projects/{}/categories/reclassify/", JSON, SMALL),
        ("POST", "/query/v1/projects/{}/categories/preview", JSON, settings.MAX_DRAFT_SIZE_BYTES),
        ("POST", "/query/v1/projects/{}/categorisation/runs/", JSON, SMALL),
        ("POST", "/knowledge/v1/projects/{}/documents/reindex/", JSON, SMALL),
        ("POST", "/knowledge/v1/projects/{}/documents/", JSON, DOCUMENT),
        ("POST", "/knowledge/v1/projects/{}/documents", MULTIPART, FORM),
        ("GET", "/knowledge/v1/projects/{}/documents", JSON, SMALL),
        ("PATCH", "/knowledge/v1/projects/{0}/documents/{0}/", JSON, DOCUMENT),
        ("DELETE", "/knowledge/v1/projects/{0}/documents/{0}/", JSON, SMALL),
        ("POST", "/admin/login/", "application/x-www-form-urlencoded", SMALL),
        ("POST", "/nowhere", JSON, SMALL),
    ],
)
def test_each_call_has_a_limit_of_its_own(method: str, path: str, kind: str, limit: int):
    serve = OptionalTrailingSlashMiddleware(RequestSizeLimitMiddleware(lambda request: HttpResponse()))

    def send(size_bytes: int) -> int:
        details = {"CONTENT_TYPE": kind, "CONTENT_LENGTH": str(size_bytes), "wsgi.input": io.BytesIO()}
        request = RequestFactory().generic(method, path.format(NOWHERE), **details)
        return serve(request).status_code

    assert send(limit) == 200
    assert send(limit + 1) == 413


def test_the_longest_honest_bodies_are_within_them():
    question = {
        "question": WIDEST * MAX_QUESTION_LENGTH,
        "user": {"metadata": {"a": WIDEST * (16 * 1024 // 4)}},
        "metadata": {"origin_url": WIDEST * 2000},
    }
    assert len(json.dumps(question)) < SMALL
    assert len(json.dumps(A_CATEGORY)) < SMALL
    assert len(json.dumps({"categories": [A_CATEGORY] * MAX_CATEGORIES})) < settings.MAX_DRAFT_SIZE_BYTES


def parse(raw: bytes) -> object:
    return StrictJSONParser().parse(io.BytesIO(raw))


MANY = MIB
TOO_MANY: dict[str, bytes] = {
    "lists": b'{"title":[' + b"[]," * (MANY // 3) + b"[]]}",
    "objects": b'{"title":[' + b"{}," * (MANY // 3) + b"{}]}",
    "numbers": b"[" + b"1," * (MANY // 2) + b"1]",
    "texts": b"[" + b'"a",' * (MANY // 4) + b'"a"]',
    "names": b"{" + b'"":1,' * (MANY // 5) + b'"":1}',
    "texts one after the other": b'""' * (MANY // 2) + b"," * 100_001,
}


@pytest.mark.parametrize("raw", TOO_MANY.values(), ids=TOO_MANY)
def test_too_many_values_are_refused_before_anything_is_made_of_them(raw: bytes):
    tracemalloc.start()
    try:
        with pytest.raises(ParseError, match="100,000 values"):
            parse(raw)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(raw)  # what is read of the body is there once more
    finally:
        tracemalloc.stop()


def test_what_stands_in_a_text_is_no_value():
    table = 'a,b,[c],{d},\\,"e"\n' * 30_000
    assert parse(orjson.dumps({"content": table})) == {"content": table}


@pytest.mark.parametrize(
    "raw", [b'{"content":"' + b'\\",' * MIB, b'{"content":"' + b"," * MIB + b"\\", b'"' + b"\\\\," * MIB + b'"x']
)
def test_texts_without_an_end_are_not_looked_at_again_and_again(raw: bytes):
    with pytest.raises(ParseError):
        parse(raw)


def count_naively(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + count_naively(child) for child in value.values())
    if isinstance(value, list):
        return 1 + sum(map(count_naively, value))
    return 1


SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(alphabet='a,[{\\"\n', max_size=6)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(alphabet='a,"\\', max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(value=VALUES)
def test_the_count_is_told_from_the_text(value: object):
    """Never fewer than a third of the values that there are, nor more than thrice."""
    counted = count_values(orjson.dumps(value), most=10_000)
    actual = count_naively(value)
    assert (actual - 1) / 3 <= counted <= 3 * actual
