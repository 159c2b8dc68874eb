"""The OpenAPI description, declared beside the routes.

Routes read and write JSON themselves, so FastAPI cannot see the shapes: `takes` and `gives` say them, and a test holds
real answers against what they say.
"""

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


def takes(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """Return a route's `openapi_extra` for a body of `model`, one of `_REQUESTS`."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


def gives(model: Any, status: int = 200) -> dict[str, Any]:
    """Return a route's keyword arguments for answers of `model` (None: no body) and problems."""
    problem = {
        "description": "A problem (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    success: dict[str, Any] = {"description": "Done"}
    if model is not None:
        success["model"] = model
    return {"status_code": status, "response_model": None, "responses": {status: success, "default": problem}}


def install_description(app: FastAPI) -> None:
    """Make `app.openapi()` tell the requests' shapes too."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            shapes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in _REQUESTS]
            _, definitions = models_json_schema([*shapes, (schemas.Problem, "serialization")], ref_template=_REF)
            components = described.setdefault("components", {}).setdefault("schemas", {})
            components.update(definitions["$defs"])
            app.openapi_schema = described
        return app.openapi_schema

    # FastAPI's own way to extend the description: https://fastapi.tiangolo.com/how-to/extending-openapi/
    app.openapi = describe  # type: ignore[method-assign]
