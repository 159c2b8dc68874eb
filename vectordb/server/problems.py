"""Errors as RFC 9457 problems."""

import logging
from collections.abc import Sequence
from http import HTTPStatus

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from vectordb.errors import FieldError, Invalid, Malformed, Unauthorized, Unavailable, VectorDBError
from vectordb.server.routing import list_methods

_log = logging.getLogger(__name__)
_MOST_FIELD_ERRORS = 100
_HTTP_TITLES = {404: "Not found", 405: "Method not allowed"}


def make_problem(
    status: int, title: str, detail: str, *, errors: tuple[FieldError, ...] = (), headers: dict[str, str] | None = None
) -> Response:
    """Return an application/problem+json answer."""
    slug = title.lower().replace(" ", "-")
    body: dict[str, object] = {"type": f"urn:vectordb:problem:{slug}", "title": title, "status": status}
    body["detail"] = detail
    if errors:
        body["errors"] = list(errors)
    return Response(orjson.dumps(body), status, headers, "application/problem+json")


def tell_error(error: VectorDBError) -> Response:
    """Return the problem that states `error`."""
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "X-API-KEY"
    return make_problem(error.status, error.title, error.detail, errors=error.errors, headers=headers)


def read_validation_error(error: ValidationError) -> Invalid:
    """Return pydantic's findings as ours: each with its place, none with what was sent."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    if len(found) == 1 and found[0]["type"] == "json_invalid":
        return Malformed(found[0]["msg"])
    fields = [
        FieldError(item["type"], item["msg"], ".".join(str(part) for part in item["loc"]))
        for item in found[:_MOST_FIELD_ERRORS]
    ]
    first = fields[0]
    detail = f"{first.attr}: {first.detail}" if first.attr else first.detail
    if len(found) > 1:
        detail += f" (and {len(found) - 1} more)"
    return Invalid(detail, errors=fields)


def install_problem_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error of `app`, which serves `routes`, a problem."""

    async def on_ours(_request: Request, error: Exception) -> Response:
        assert isinstance(error, VectorDBError)
        return tell_error(error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = _HTTP_TITLES.get(error.status_code, "Request refused")
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(list_methods(routes, request.scope))
        return make_problem(error.status_code, title, str(error.detail), headers=headers)

    async def on_validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ValidationError)
        return tell_error(read_validation_error(error))

    async def on_parameters(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        fields = [
            FieldError(item["type"], item["msg"], ".".join(str(part) for part in item["loc"][1:]))
            for item in error.errors()
        ]
        return tell_error(Invalid(f"{fields[0].attr}: {fields[0].detail}", errors=fields))

    async def on_disconnect(_request: Request, _error: Exception) -> Response:
        _log.debug("a client left before its body was sent")
        return make_problem(400, "Client left", "the body was not sent to its end")

    async def on_anything(_request: Request, error: Exception) -> Response:
        _log.error("unexpected error", exc_info=error)
        return make_problem(500, "Internal error", "the server failed; its log says more")

    app.add_exception_handler(VectorDBError, on_ours)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ValidationError, on_validation)
    app.add_exception_handler(RequestValidationError, on_parameters)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_anything)
