"""Keyset pagination: a page costs the same wherever it lies, and inserts neither repeat nor skip a row.

A view declares `ordering = ("-created_at", "-id")` (or both ascending): one column that orders, then the id that makes
it total. The cursor is opaque to clients: the last row's key and the direction.

What is paged is a queryset, or whatever can read a stretch of an ordered list by itself (PageSource).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import orjson
from django.db.models import Model, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from teams.fields import GIVEN_TWICE

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 500
MAX_CURSOR_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Cursor:
    """A row's key, and whether the page lies before it instead of after it."""

    at: datetime
    id: UUID
    backwards: bool = False

    def encode(self) -> str:
        raw = orjson.dumps([self.at.astimezone(UTC).isoformat(), str(self.id), self.backwards])
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """The cursor that `encode` wrote. Raises ValueError for anything else."""
        try:
            at, row_id, backwards = orjson.loads(
                base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            )
            cursor = cls(datetime.fromisoformat(at), UUID(row_id), bool(backwards))
            if cursor.at.utcoffset() != timedelta(0):
                raise ValueError("not a cursor")
        except (binascii.Error, orjson.JSONDecodeError, TypeError, AttributeError, UnicodeError) as error:
            raise ValueError("not a cursor") from error
        return cursor


class PageSource(Protocol):
    """A list that a single queryset would not read fast."""

    def read(self, beyond: Q, ordering: tuple[str, str], length: int) -> list[Any]:
        """The first `length` rows of those that meet `beyond`, in this order."""
        ...


class KeysetPagination(BasePagination):
    """`?page_size=` 1..500 and `?cursor=`; `{next, previous, next_cursor, results}`."""

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """The rows of the page that the request asks for. Raises ValidationError for a parameter that is none."""
        size = _read_page_size(request)
        cursor = _read_cursor(request)
        column, descending = _read_ordering(getattr(view, "ordering", ("-created_at", "-id")))
        backwards = cursor is not None and cursor.backwards
        is_down = descending != backwards
        beyond = _beyond(column, cursor, down=is_down) if cursor else Q()
        sign = "-" if is_down else ""
        found = _read(queryset, beyond, (f"{sign}{column}", f"{sign}id"), size + 1)
        there_is_more = len(found) > size
        page = found[:size]
        if backwards:
            page.reverse()
        self._url = request.build_absolute_uri()
        self._next = _key(page[-1], column) if page and (there_is_more or backwards) else None
        there_is_less = there_is_more if backwards else cursor is not None
        self._previous = _key(page[0], column, backwards=True) if page and there_is_less else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "next": self._link(self._next),
                "previous": self._link(self._previous),
                "next_cursor": self._next.encode() if self._next else None,
                "results": data,
            }
        )

    def _link(self, cursor: Cursor | None) -> str | None:
        return replace_query_param(self._url, "cursor", cursor.encode()) if cursor else None

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "next_cursor", "results"],
            "properties": {
                "next": link,
                "previous": link,
                "next_cursor": {"type": ["string", "null"]},
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            {
                "name": "page_size",
                "in": "query",
                "required": False,
                "description": "How many rows a page holds.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE},
            },
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "description": "`next_cursor` of the page before.",
                "schema": {"type": "string", "format": "cursor", "maxLength": MAX_CURSOR_LENGTH},
            },
        ]


def _read(source: QuerySet[Any] | PageSource, beyond: Q, ordering: tuple[str, str], length: int) -> list[Any]:
    if isinstance(source, QuerySet):
        return list(source.filter(beyond).order_by(*ordering)[:length])
    return source.read(beyond, ordering, length)


def _read_parameter(request: Request, name: str) -> str | None:
    given: list[str] = request.query_params.getlist(name)
    if len(given) > 1:
        raise ValidationError({name: [GIVEN_TWICE]}, code="repeated")
    return given[0] if given else None


def _read_page_size(request: Request) -> int:
    text = _read_parameter(request, "page_size")
    if text is None:
        return DEFAULT_PAGE_SIZE
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE_SIZE):
        raise ValidationError({"page_size": [f"must be a whole number from 1 to {MAX_PAGE_SIZE}"]})
    return int(text)


def _read_cursor(request: Request) -> Cursor | None:
    text = _read_parameter(request, "cursor")
    if text is None:
        return None
    try:
        return Cursor.decode(text)
    except ValueError as error:
        raise ValidationError({"cursor": ["is not a cursor that this list gave"]}) from error


def _read_ordering(ordering: Sequence[str]) -> tuple[str, bool]:
    first = ordering[0]
    return first.removeprefix("-"), first.startswith("-")


def _beyond(column: str, cursor: Cursor, *, down: bool) -> Q:
    """The rows after the cursor: `(column, id) < (at, id)`, written so that an index on both bounds the scan."""
    strict, bound = ("lt", "lte") if down else ("gt", "gte")
    return Q(**{f"{column}__{bound}": cursor.at}) & (
        Q(**{f"{column}__{strict}": cursor.at}) | Q(**{f"id__{strict}": cursor.id})
    )


def _key(row: Model, column: str, *, backwards: bool = False) -> Cursor:
    return Cursor(getattr(row, column), row.pk, backwards)
