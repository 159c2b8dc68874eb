"""What all requests and all answers have in common."""

import uuid
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Metric = Literal["cosine", "dot", "l2"]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$", description="1 to 128 of A-Z a-z 0-9 . _ -")]
Name = Annotated[str, Field(min_length=1, max_length=1_000)]

_MAX_METADATA_DEPTH = 16
_MAX_METADATA_NODES = 10_000


class RequestModel(BaseModel):
    """A body as clients send it: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def exactly_one_of(left: str, right: str) -> ConfigDict:
    """Return what tells in a model's JSON Schema that one of the two fields must be there, and not the other."""
    rules: list[Any] = [
        {"required": [given], "properties": {given: {"not": {"type": "null"}}, other: {"type": "null"}}}
        for given, other in ((left, right), (right, left))
    ]
    return ConfigDict(json_schema_extra={"oneOf": rules})


class ResponseModel(BaseModel):
    """An answer as clients read it: fields that a newer server adds are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)


def make_id() -> str:
    """Return the id of something that was given none."""
    return str(uuid.uuid4())


def check_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """Return `value` when JSON can carry it there and back: finite numbers of 64 bits, bounded depth and size."""
    nodes = 0
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        node, depth = pending.pop()
        nodes += 1
        if depth > _MAX_METADATA_DEPTH or nodes > _MAX_METADATA_NODES:
            raise PydanticCustomError("metadata_size", "is nested too deeply or holds too many values")
        if isinstance(node, dict):
            if not all(isinstance(key, str) for key in node):
                raise PydanticCustomError("metadata_key", "may only have text as keys")
            pending.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            pending.extend((child, depth + 1) for child in node)
        else:
            _check_scalar(node)
    return value


def _check_scalar(node: object) -> None:
    if node is None or isinstance(node, str | bool):
        return
    if isinstance(node, int):
        if not -(2**63) <= node < 2**63:
            raise PydanticCustomError("metadata_number", "holds an integer beyond 64 bits")
        return
    if isinstance(node, float):
        if node != node or node in (float("inf"), float("-inf")):
            raise PydanticCustomError("metadata_number", "holds NaN or infinity")
        return
    raise PydanticCustomError("metadata_type", "holds a value that is no JSON")


Metadata = Annotated[dict[str, Any], AfterValidator(check_metadata)]
