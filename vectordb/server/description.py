"""The OpenAPI description, declared beside the routes.

Routes read and write JSON themselves, so FastAPI cannot see the shapes: `takes` and `gives` say them, and a test holds
real answers against what they say. The problems that a call can answer follow from what it is.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from vectordb import schemas

_REF = "#/components/schemas/{model}"
_REQUESTS: list[type[BaseModel]] = [
    schemas.LibraryCreate,
    schemas.LibraryUpdate,
    schemas.IndexSpec,
    schemas.DocumentCreate,
    schemas.DocumentUpdate,
    schemas.ChunksUpsert,
    schemas.ChunkUpdate,
    schemas.ChunksDelete,
    schemas.SearchRequest,
    schemas.HybridSearchCall,
    schemas.CountRequest,
    schemas.Manifest,
    schemas.SnapshotCreate,
    schemas.SnapshotRestore,
]
_PROBLEM = {
    "description": "A problem (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
}
_HEADERS = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    503: {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}},
}
_READS = ("/search", "/search/hybrid", "/count")


def takes(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """Return a route's `openapi_extra` for a body of `model`, one of `_REQUESTS`."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


def gives(model: Any, status: int = 200) -> dict[str, Any]:
    """Return a route's keyword arguments for answers of `model` (None: no body) and problems."""
    success: dict[str, Any] = {"description": "Done"}
    if model is not None:
        success["model"] = model
    return {"status_code": status, "response_model": None, "responses": {status: success, "default": _PROBLEM}}


def gives_a_file(*media_types: str) -> dict[str, Any]:
    """Return a route's keyword arguments for answers that are a file of one of these types, and problems."""
    given = gives(None)
    given["responses"][200]["content"] = {media_type: {} for media_type in media_types}
    return given


def install_description(app: FastAPI, *, needs_key: bool) -> None:
    """Make `app.openapi()` tell the requests' shapes, each call's problems, and whether there is a key to know."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            shapes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in _REQUESTS]
            _, definitions = models_json_schema([*shapes, (schemas.Problem, "serialization")], ref_template=_REF)
            components = described.setdefault("components", {})
            components.setdefault("schemas", {}).update(definitions["$defs"])
            for path, calls in described["paths"].items():
                for method, call in calls.items():
                    if call["responses"].pop("default", None) is not None:
                        _tell_problems(path, method, call, needs_key=needs_key)
            if needs_key:
                components["securitySchemes"] = {"APIKey": {"type": "apiKey", "in": "header", "name": "X-API-KEY"}}
            app.openapi_schema = described
        return app.openapi_schema

    # FastAPI's own way to extend the description: https://fastapi.tiangolo.com/how-to/extending-openapi/
    app.openapi = describe  # type: ignore[method-assign]


def _tell_problems(path: str, method: str, call: dict[str, Any], *, needs_key: bool) -> None:
    """Put into `call` the answers that it can give instead of the one that it is made for."""
    statuses = {422, 503}  # unknown query parameters are refused everywhere
    if needs_key:
        statuses.add(401)
        call["security"] = [{"APIKey": []}]
    if "{" in path:
        statuses.add(404)
    if "requestBody" in call:
        statuses |= {400, 413, 415}
    if method != "get" and not path.endswith(_READS):
        statuses |= {409, 507}
    for status in sorted(statuses):
        headers = _HEADERS.get(status)
        told = {**_PROBLEM, "description": HTTPStatus(status).phrase}
        call["responses"][str(status)] = {**told, "headers": headers} if headers else told
