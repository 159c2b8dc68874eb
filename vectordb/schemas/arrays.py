"""The array types that every room speaks, and embeddings as they travel."""

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

FloatArray = NDArray[np.float32]
"""float32, of one row (d,) or several (n, d)."""
IdArray = NDArray[np.int64]
"""int64 (n,): the integers by which storage and indexes know chunks."""

MAX_DIMENSION = 65_536
MAX_MAGNITUDE = 1e16
"""Beyond it, a sum of 65,536 products could leave float32, and a score would no longer be a number."""


def parse_embedding(value: object) -> FloatArray:
    """Return float32 (d,) from a list of numbers, base64 of little-endian float32, or a numpy array.

    Raises PydanticCustomError when it is none of these, empty, not finite or beyond MAX_MAGNITUDE.
    """
    wide: NDArray[Any]
    if isinstance(value, str):
        wide = _decode_base64(value)
    elif isinstance(value, np.ndarray):
        wide = value
    elif isinstance(value, list | tuple):
        wide = _convert_list(value)
    else:
        raise PydanticCustomError("embedding_type", "must be a list of numbers or base64 of little-endian float32")
    if wide.ndim != 1 or wide.size == 0:
        raise PydanticCustomError("embedding_shape", "must be one non-empty row of numbers")
    if wide.dtype.kind not in "fiu":
        raise PydanticCustomError("embedding_type", "must hold real numbers")
    if wide.size > MAX_DIMENSION:
        raise PydanticCustomError("embedding_shape", "holds more than {limit} numbers", {"limit": MAX_DIMENSION})
    # A comparison with NaN is false, so that one pass finds NaN, infinity and what is too large.
    if not bool((np.abs(wide) <= MAX_MAGNITUDE).all()):
        raise PydanticCustomError("embedding_not_finite", "holds NaN, infinity or a number beyond 1e16 in magnitude")
    return np.ascontiguousarray(wide, dtype=np.float32)


def encode_embedding(value: FloatArray) -> str:
    """Return base64 of the row as little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(value, dtype="<f4").tobytes()).decode("ascii")


def _decode_base64(value: str) -> NDArray[np.float32]:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PydanticCustomError("embedding_base64", "is not valid base64") from exc
    if len(raw) % 4:
        raise PydanticCustomError("embedding_base64", "does not hold whole float32 numbers")
    return np.frombuffer(raw, dtype="<f4")


def _convert_list(value: list[object] | tuple[object, ...]) -> NDArray[np.float64]:
    # numpy would take "1.5" and true for numbers.
    if not set(map(type, value)) <= {float, int}:
        raise PydanticCustomError("embedding_type", "must hold only numbers")
    try:
        return np.array(value, dtype=np.float64)
    except OverflowError as exc:
        raise PydanticCustomError("embedding_not_finite", "holds a number beyond 1e16 in magnitude") from exc


Embedding = Annotated[
    FloatArray,
    PlainValidator(parse_embedding),
    PlainSerializer(encode_embedding, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "number"}, "minItems": 1},
                {"type": "string", "format": "byte", "description": "base64 of little-endian float32"},
            ]
        }
    ),
]
