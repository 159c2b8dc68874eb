"""What holds for every route: its query parameters are known, and HEAD is GET without the body."""

from collections.abc import Sequence

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vectordb.errors import FieldError, Invalid


async def refuse_unknown_parameters(request: Request) -> None:
    """Raise Invalid when the query names what the route does not know: a filter mistyped must not be passed over."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = {field.alias for field in route.dependant.query_params}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        detail = "is no query parameter of this call"
        errors = [FieldError("unknown_parameter", detail, name) for name in unknown]
        raise Invalid(f"{unknown[0]}: {detail}", errors=errors)


def list_methods(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """Return the methods that the path of `scope` is served with."""
    methods: set[str] = set()
    for route in routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            methods.update(getattr(route, "methods", None) or ())
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


class ServeHead:
    """ASGI middleware: HEAD is answered as GET is, with its headers and without its body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)
