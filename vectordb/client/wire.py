"""How calls become requests and answers become models: paths, query parameters, bodies."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import ArrayLike
from pydantic import BaseModel, ValidationError

from vectordb.client.transport import Parameters
from vectordb.errors import Invalid, Unavailable
from vectordb.schemas.arrays import encode_embedding

M = TypeVar("M", bound=BaseModel)
Filter = Mapping[str, Any]


def make_path(library_id: str, *parts: str) -> str:
    """Return the path of a library, or of what is below it. Raises Invalid for an empty id."""
    return _join_path("/v1/libraries", library_id, *parts)


def make_snapshot_path(snapshot_id: str, *parts: str) -> str:
    """Return the path of a snapshot, or of what is below it. Raises Invalid for an empty id."""
    return _join_path("/v1/snapshots", snapshot_id, *parts)


def _join_path(root: str, *ids: str) -> str:
    segments = [quote(part, safe="") for part in ids]
    if "" in segments:
        raise Invalid("an id is empty")
    # "." and ".." are ids too; written plainly, they would be taken for ways up.
    return "/".join([root, *(part.replace(".", "%2E") if part.strip(".") == "" else part for part in segments)])


def make_page_parameters(limit: int, cursor: str | None) -> Parameters:
    """Return the query of a page."""
    return {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}


def make_search_options(
    k: int,
    filter: Filter | None,
    score_threshold: float | None,
    exact: bool,
    include: Sequence[str],
    group_by: str | None,
    min_log_position: int | None,
) -> dict[str, Any]:
    """Return what all searches take, as their bodies have it."""
    return {
        "k": k,
        "filter": filter,
        "score_threshold": score_threshold,
        "exact": exact,
        "include": list(include),
        "group_by": group_by,
        "min_log_position": min_log_position,
    }


def encode_embeddings(embedding: ArrayLike | None, embeddings: Sequence[ArrayLike] | None) -> dict[str, Any]:
    """Return the part of a search's body that holds one query or several. Raises Invalid for neither and both."""
    if (embedding is None) == (embeddings is None):
        raise Invalid("exactly one of embedding and embeddings")
    if embeddings is not None:
        return {"embeddings": [encode_row(one) for one in embeddings]}
    return {} if embedding is None else {"embedding": encode_row(embedding)}


def encode_row(embedding: ArrayLike) -> str:
    """Return one embedding as it goes over the wire. Raises Invalid for what is no row of numbers."""
    try:
        row = np.asarray(embedding, dtype=np.float32)
    except (TypeError, ValueError) as exc:
        raise Invalid(f"the embedding is no row of numbers: {exc}") from exc
    if row.ndim != 1:
        raise Invalid(f"the embedding has {row.ndim} dimensions where one row is expected")
    return encode_embedding(row)


def write_body(body: Mapping[str, Any]) -> bytes:
    """Return `body` as JSON; what is None is left out. Raises Invalid for what JSON cannot carry."""
    return dump_json({name: value for name, value in body.items() if value is not None})


def dump_json(value: Mapping[str, Any]) -> bytes:
    """Return `value` as JSON. Raises Invalid for what JSON cannot carry."""
    try:
        return orjson.dumps(value)
    except TypeError as exc:
        raise Invalid(f"the request cannot be written as JSON: {exc}") from exc


def read_answer(model: type[M], content: bytes) -> M:
    """Return the answer as `model`. Raises Unavailable for one that is none: what answers is no vector database."""
    try:
        return model.model_validate_json(content)
    except ValidationError as exc:
        raise Unavailable(f"the vector database's answer is no {model.__name__}") from exc
