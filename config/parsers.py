"""How request bodies are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

MAX_VALUES = 100_000
_OPENING_OR_NEXT = (b",", b"[", b"{")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # or its beginning, so that nothing is looked at twice


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 has it, and nothing that PostgreSQL's text cannot hold.

    NaN and infinity, lone surrogates and nesting without end are refused by orjson; a NUL character here, and more
    values than any call has a use for, which would take many times the memory of the body.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        raw = stream.read()
        # nearly all bodies are done with the first, which is quick
        if sum(map(raw.count, _OPENING_OR_NEXT)) > MAX_VALUES and count_values(raw, MAX_VALUES) > MAX_VALUES:
            raise ParseError(f"JSON parse error - more than {MAX_VALUES:,} values.")
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"JSON parse error - {error}") from error
        if b"\\u0000" in raw and _holds_nul(value):
            raise ParseError("JSON parse error - NUL characters are not allowed.")
        return value


def count_values(raw: bytes, most: int) -> int:
    """About how many values the JSON text holds, told without making any of them: what separates them, and strings.

    Beyond `most` it is not counted on.
    """
    count, position = 0, 0
    for string in _STRING.finditer(raw):  # what stands in a string, such as a table's commas, separates nothing
        count += 1 + sum(raw.count(mark, position, string.start()) for mark in _OPENING_OR_NEXT)
        position = string.end()
        if count > most:
            return count
    return count + sum(raw.count(mark, position) for mark in _OPENING_OR_NEXT)


def _holds_nul(value: object) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str) and "\x00" in item:
            return True
        if isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return False
