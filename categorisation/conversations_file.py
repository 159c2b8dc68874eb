"""Past conversations as JSON Lines: what a line may hold, and how it is read.

A line is taken as a whole or refused with a reason; a field that is not known is refused, so that a misspelt one is not
lost in silence. `null` counts as left out, except in `category`, where it says that no category applies. People read
about it in docs/guides/importing.md.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, NamedTuple

import orjson

from categorisation.errors import BadConversation

MAX_LINE_BYTES = 1024 * 1024
MAX_EXTERNAL_ID_LENGTH = 200
MAX_EXCHANGES = 1_000
MAX_QUESTION_LENGTH = 10_000
MAX_ANSWER_LENGTH = 100_000
MAX_SOURCES = 50
MAX_SOURCE_TITLE_LENGTH = 500
MAX_SNIPPET_LENGTH = 10_000
MAX_ADDRESS_LENGTH = 2_000
MAX_EMAIL_LENGTH = 320
MAX_CLIENT_ID_LENGTH = 200
MAX_CATEGORY_LENGTH = 200
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 8
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(minutes=5)
# A conversation without any time must not pass for a young one: those are classified before old ones.
AGE_OF_UNDATED = timedelta(days=1)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
_EXCHANGE_FIELDS = frozenset({"question", "answer", "created_at", "is_uncertain", "relevant_sources"})
_COMMON_FIELDS = frozenset({"external_id", "created_at", "user", "metadata", "category", "category_source"})
_LONG_FORM = _COMMON_FIELDS | {"question_answers"}
_SHORT_FORM = _COMMON_FIELDS | _EXCHANGE_FIELDS


class Line(NamedTuple):
    """A line of a file, counted from 1. Of one that is too long, `data` holds as much as shows that it is."""

    number: int
    data: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PastExchange:
    """A question-answer. `relevant_sources` have a title, a source_url and a snippet each."""

    question: str
    answer: str
    is_uncertain: bool
    relevant_sources: Sequence[dict[str, str]]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PastLabel:
    """A person's decision: the title or the id of a category, not looked up yet, or None for "none of them"."""

    category: str | None


@dataclass(frozen=True, slots=True)
class PastConversation:
    """A conversation as its line tells it. Its exchanges, one at least, are in order, their times never decrease."""

    external_id: str
    created_at: datetime
    is_dated: bool
    exchanges: Sequence[PastExchange]
    user_email: str
    user_unique_client_id: str
    user_metadata: dict[str, Any]
    origin_url: str
    label: PastLabel | None


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of a file of any size, one at a time; of each no more than MAX_LINE_BYTES and a little is kept."""
    number = 0
    while data := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        size_bytes = len(data)
        part = data
        while len(part) > MAX_LINE_BYTES and not part.endswith(b"\n"):
            part = file.readline(MAX_LINE_BYTES + 1)
            size_bytes += len(part)
        yield Line(number, data.removeprefix(_BYTE_ORDER_MARK) if number == 1 else data, size_bytes)


def parse_line(data: bytes, *, now: datetime) -> PastConversation:
    """The conversation of a line. Raises BadConversation, and nothing else, whatever the bytes are."""
    document = _parse_json(data)
    if not isinstance(document, dict):
        raise BadConversation("a JSON object is expected")
    is_short = "question" in document
    if is_short and "question_answers" in document:
        raise BadConversation("`question` and `question_answers` exclude each other")
    fields = _Fields(document, "", _SHORT_FORM if is_short else _LONG_FORM, now)
    external_id = fields.text("external_id", MAX_EXTERNAL_ID_LENGTH, is_required=True)
    begun_at = fields.time("created_at")
    exchange_fields = [fields] if is_short else fields.objects("question_answers", _EXCHANGE_FIELDS, MAX_EXCHANGES)
    if not exchange_fields:
        raise fields.bad("question_answers", "there must be one at least")
    exchanges, is_dated = _read_exchanges(exchange_fields, begun_at, now)
    user = fields.object("user", frozenset({"email", "unique_client_id", "metadata"}))
    metadata = fields.object("metadata", frozenset({"origin_url"}))
    return PastConversation(
        external_id=external_id,
        created_at=exchanges[0].created_at if begun_at is None else min(begun_at, exchanges[0].created_at),
        is_dated=is_dated,
        exchanges=exchanges,
        user_email=_read_email(user),
        user_unique_client_id=user.text("unique_client_id", MAX_CLIENT_ID_LENGTH),
        user_metadata=_read_user_metadata(user),
        origin_url=metadata.text("origin_url", MAX_ADDRESS_LENGTH),
        label=_read_label(fields),
    )


class _Fields:
    """The fields of one JSON object, read one by one."""

    def __init__(self, values: dict[str, Any], path: str, known: frozenset[str], now: datetime) -> None:
        self._values = values
        self._path = path
        self._now = now
        if not values.keys() <= known:
            unknown = min(values.keys() - known)
            raise self.bad(unknown[:50], f"no such field; there are {', '.join(sorted(known))}")

    def bad(self, name: str, reason: str) -> BadConversation:
        return BadConversation(f"{_printable(self._path + name)}: {reason}")

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def has(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, max_length: int, *, is_required: bool = False) -> str:
        value = self._values.get(name)
        if value is None and not is_required:
            return ""
        if value is None:
            raise self.bad(name, "is required")
        if not isinstance(value, str):
            raise self.bad(name, "a text is expected")
        if len(value) > max_length:
            raise self.bad(name, f"at most {max_length} characters")
        if is_required and not _is_visible(value):
            raise self.bad(name, "must not be empty")
        self.check_characters(name, value)
        return value

    def check_characters(self, name: str, value: str) -> None:
        if "\0" in value:
            raise self.bad(name, "NUL characters are not allowed")
        if not value.isascii() and not _is_encodable(value):
            raise self.bad(name, "half of a surrogate pair is not a character")

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.bad(name, "true or false is expected")
        return bool(value)

    def time(self, name: str) -> datetime | None:
        value = self._values.get(name)
        if value is None:
            return None
        time = _parse_time(value)
        if time is None:
            raise self.bad(name, "an ISO 8601 time with its zone is expected, such as 2025-03-31T09:30:00Z")
        if time > self._now + CLOCK_SKEW:
            raise self.bad(name, "is in the future")
        if time < EARLIEST:
            raise self.bad(name, "is before 1970")
        return time

    def object(self, name: str, known: frozenset[str]) -> _Fields:
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.bad(name, "an object is expected")
        return _Fields(value or {}, f"{self._path}{name}.", known, self._now)

    def objects(self, name: str, known: frozenset[str], max_length: int) -> list[_Fields]:
        values = self._values.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.bad(name, "a list of objects is expected")
        if len(values) > max_length:
            raise self.bad(name, f"at most {max_length}")
        return [
            _Fields(value, f"{self._path}{name}[{position}].", known, self._now)
            for position, value in enumerate(values)
        ]


def _read_exchanges(
    fields: Sequence[_Fields], begun_at: datetime | None, now: datetime
) -> tuple[list[PastExchange], bool]:
    """The exchanges, and whether there was any time to date them by. One without a time has that of the one before."""
    times = [exchange.time("created_at") for exchange in fields]
    known = [time for time in (begun_at, *times) if time is not None]
    latest = times[0] or min(known, default=now - AGE_OF_UNDATED)
    exchanges = []
    for exchange, time in zip(fields, times, strict=True):
        if time is not None and time < latest:
            raise exchange.bad("created_at", "is earlier than what comes before it")
        latest = time or latest
        exchanges.append(_read_exchange(exchange, latest))
    return exchanges, bool(known)


def _read_exchange(fields: _Fields, created_at: datetime) -> PastExchange:
    return PastExchange(
        question=fields.text("question", MAX_QUESTION_LENGTH, is_required=True).strip(),
        answer=fields.text("answer", MAX_ANSWER_LENGTH),
        is_uncertain=fields.flag("is_uncertain"),
        relevant_sources=[
            {
                "title": source.text("title", MAX_SOURCE_TITLE_LENGTH),
                "source_url": _read_address(source),
                "snippet": source.text("snippet", MAX_SNIPPET_LENGTH),
            }
            for source in fields.objects("relevant_sources", frozenset({"title", "source_url", "snippet"}), MAX_SOURCES)
        ],
        created_at=created_at,
    )


def _read_address(source: _Fields) -> str:
    address = source.text("source_url", MAX_ADDRESS_LENGTH)
    scheme = _SCHEME.match(address)
    # Browsers drop characters that nobody sees, and run what is left.
    is_seen = address.isprintable() and " " not in address
    if not is_seen or (scheme and scheme[1].lower() not in ("http", "https")):
        raise source.bad("source_url", "an http:// or https:// address, or a path, is expected")
    return address


def _read_email(user: _Fields) -> str:
    email = user.text("email", MAX_EMAIL_LENGTH)
    if email and not _EMAIL.fullmatch(email):
        raise user.bad("email", "an e-mail address is expected")
    return email


def _read_label(fields: _Fields) -> PastLabel | None:
    source = fields.get("category_source")
    if source not in (None, "user"):
        raise fields.bad("category_source", 'can only be "user": what a classifier said is computed anew')
    if source is not None and not fields.has("category"):
        raise fields.bad("category", 'is required beside `category_source`; null says "none of them"')
    if fields.get("category") is not None:
        return PastLabel(fields.text("category", MAX_CATEGORY_LENGTH, is_required=True))
    return PastLabel(None) if source is not None else None


def _read_user_metadata(user: _Fields) -> dict[str, Any]:
    metadata = user.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise user.bad("metadata", "an object is expected")
    pending: list[tuple[Any, int]] = [(metadata, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_METADATA_DEPTH + 1:
            raise user.bad("metadata", f"nested at most {MAX_METADATA_DEPTH} deep")
        if isinstance(item, dict):
            if "" in item:
                raise user.bad("metadata", "a name must not be empty")
            pending.extend((child, depth + 1) for pair in item.items() for child in pair)
        elif isinstance(item, list):
            pending.extend((child, depth + 1) for child in item)
        elif isinstance(item, str):
            user.check_characters("metadata", item)
        elif isinstance(item, int | float) and not -(2**63) <= item < 2**63:
            raise user.bad("metadata", "a number must fit into 64 bits")
    if len(orjson.dumps(metadata)) > MAX_METADATA_BYTES:
        raise user.bad("metadata", f"at most {MAX_METADATA_BYTES} bytes")
    return metadata


def _parse_json(data: bytes) -> Any:
    if len(data.rstrip(b"\r\n")) > MAX_LINE_BYTES:
        raise BadConversation(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        return json.loads(data.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        raise BadConversation(f"not UTF-8: byte {exc.start + 1} of the line") from exc
    except json.JSONDecodeError as exc:
        raise BadConversation(f"not JSON: {exc.msg}, column {exc.colno}") from exc
    except RecursionError as exc:
        raise BadConversation("nested too deep") from exc
    except ValueError as exc:  # Python's own limit on the digits of an integer
        raise BadConversation("a number has too many digits") from exc


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise BadConversation(f"{_printable(twice[:50])}: stands there twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise BadConversation(f"not JSON: {name}")


def _parse_time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time.astimezone(UTC) if time is not None and time.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _is_visible(text: str) -> bool:
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(name: str) -> str:
    """A name as any terminal can show it."""
    return name if name.isprintable() else repr(name)
