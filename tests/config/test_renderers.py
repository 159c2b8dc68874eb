"""JSON by orjson is the JSON that DRF writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.utils.translation import gettext_lazy
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.renderers import JSONRenderer

from config.renderers import FastJSONRenderer

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.booleans() | numbers | texts | st.uuids() | st.datetimes(timezones=st.just(UTC))
values = st.recursive(leaves, lambda inner: st.lists(st.none() | inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(values)
@example({"huge": 10**400, "id": UUID(int=1)})
@example([2**64, -(2**63) - 1])
def test_it_says_what_drf_says(value: Any):
    naive = json.loads(JSONRenderer().render(_with_times_as_text(value)))
    assert json.loads(FastJSONRenderer().render(value)) == naive


def test_times_are_utc_and_keep_their_microseconds():
    at = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert FastJSONRenderer().render([at, at.replace(microsecond=0)]) == (
        b'["2030-01-02T03:04:05.678901Z","2030-01-02T03:04:05Z"]'
    )


@pytest.mark.parametrize(
    "value", [gettext_lazy("later"), Decimal("1.50"), timedelta(seconds=2), {"n": 10**30}, "ü", {"a", "b"} - {"b"}]
)
def test_what_orjson_does_not_know_is_written_too(value: object):
    assert FastJSONRenderer().render(value) == JSONRenderer().render(value)


def test_an_answer_without_a_body_stays_empty():
    assert FastJSONRenderer().render(None) == b""


def _with_times_as_text(value: Any) -> Any:
    """Times as text: DRF's encoder cuts them to milliseconds, its serializers' fields don't."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list):
        return [_with_times_as_text(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_times_as_text(each) for name, each in value.items()}
    return value
