"""The filter grammar, read into a tree of conditions.

Served: `{"field": value}`, `{"field": {"$eq": value}}` and `{"$and": [...]}`; several fields in one object are
joined by "and". Everything else of the grammar is refused by its name, so that no condition is ever passed over.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

Scalar = str | int | float | bool | None

PLAIN_FIELDS = ("document_id", "document.name", "text")
TIME_FIELDS = ("created_at", "updated_at")
METADATA_PREFIXES = ("metadata.", "document.metadata.")
UNSERVED_OPERATORS = (
    *("$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains", "$startswith"),
    *("$or", "$not"),
)
_MAX_CONDITIONS = 100
_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Equals:
    """The field is there and equals `value`: of the same JSON type, numbers by value.

    For `created_at` and `updated_at` the value is in microseconds since 1970 (UTC).
    """

    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class And:
    """Every one of `parts` holds; none of them is empty."""

    parts: "tuple[Condition, ...]"


Condition = Equals | And


def parse_filter(value: object) -> Condition | None:
    """Return the condition that `value` states, or None for null and `{}`, which state none.

    Raises PydanticCustomError that names the operator, the field or the value at fault.
    """
    if value is None or isinstance(value, Equals | And):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("filter_type", "a filter is a JSON object")
    if not value:
        return None
    parts = _read_object(value, 0)
    if len(parts) > _MAX_CONDITIONS:
        raise PydanticCustomError(
            "filter_size", "a filter holds at most {limit} conditions", {"limit": _MAX_CONDITIONS}
        )
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _read_object(value: dict[str, Any], depth: int) -> list[Condition]:
    if depth > _MAX_DEPTH:
        raise PydanticCustomError("filter_size", "the filter is nested too deeply")
    parts: list[Condition] = []
    for key, operand in value.items():
        if key == "$and":
            parts.extend(_read_and(operand, depth))
        elif key.startswith("$"):
            raise _refused_operator(key)
        else:
            parts.append(_read_field(key, operand))
    return parts


def _read_and(operand: object, depth: int) -> list[Condition]:
    if not isinstance(operand, list) or not operand:
        raise PydanticCustomError("filter_and", "$and takes a non-empty list of filters")
    parts: list[Condition] = []
    for item in operand:
        if not isinstance(item, dict) or not item:
            raise PydanticCustomError("filter_and", "$and takes a non-empty list of filters")
        parts.extend(_read_object(item, depth + 1))
    return parts


def _read_field(field: str, operand: object) -> Equals:
    if not _is_field(field):
        raise PydanticCustomError("filter_field", 'unknown field "{field}" in the filter', {"field": field})
    if isinstance(operand, dict):
        if set(operand) != {"$eq"}:
            unserved = [key for key in operand if key != "$eq"]
            raise _refused_operator(unserved[0] if unserved else "{}")
        operand = operand["$eq"]
    if isinstance(operand, list | dict):
        raise PydanticCustomError("filter_value", 'the value for "{field}" must be no list or object', {"field": field})
    return Equals(field, _read_value(field, operand))


def _read_value(field: str, value: Any) -> Scalar:
    if isinstance(value, float) and value - value != 0:
        raise PydanticCustomError("filter_value", 'the value for "{field}" must be finite', {"field": field})
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise PydanticCustomError("filter_value", 'the value for "{field}" is beyond 64 bits', {"field": field})
    if field in PLAIN_FIELDS and not isinstance(value, str):
        raise PydanticCustomError("filter_value", 'the value for "{field}" must be text', {"field": field})
    if field in TIME_FIELDS:
        return _read_time(field, value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise PydanticCustomError("filter_value", 'the value for "{field}" is no JSON', {"field": field})


def _read_time(field: str, value: object) -> int:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise PydanticCustomError("filter_value", 'the value for "{field}" must be an ISO 8601 time', {"field": field})
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return to_microseconds(moment)


def to_microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970 (UTC); `moment` bears its time zone."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _is_field(field: str) -> bool:
    if field in PLAIN_FIELDS or field in TIME_FIELDS:
        return True
    return any(field.startswith(prefix) and len(field) > len(prefix) for prefix in METADATA_PREFIXES)


def _refused_operator(name: str) -> PydanticCustomError:
    if name in UNSERVED_OPERATORS:
        return PydanticCustomError("filter_operator", 'operator "{name}" is not served yet', {"name": name})
    return PydanticCustomError("filter_operator", 'unknown operator "{name}" in the filter', {"name": name})


def _pass_through(value: object) -> object:
    return value


FilterField = Annotated[
    Condition | None,
    PlainValidator(parse_filter),
    PlainSerializer(_pass_through),
    WithJsonSchema(
        {
            "type": ["object", "null"],
            "description": 'Conditions by field, joined by "and": {"metadata.language": "en"}',
            "examples": [{"metadata.language": "en"}, {"$and": [{"document_id": "a"}, {"metadata.n": {"$eq": 1}}]}],
        }
    ),
]
