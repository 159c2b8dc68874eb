"""Who may call: the API key, checked before anything else is looked at."""

import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from vectordb.errors import Unauthorized
from vectordb.server.problems import tell_error

_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_HEADER = b"x-api-key"


class RequireAPIKey:
    """ASGI middleware: 401 without one of the keys, on every path but the probes'."""

    def __init__(self, app: ASGIApp, api_keys: Sequence[str]) -> None:
        self._app = app
        self._api_keys = [key.encode() for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS and not self._has_key(scope):
            await tell_error(Unauthorized("the header X-API-KEY is missing or wrong"))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == _HEADER]
        return len(sent) == 1 and any([hmac.compare_digest(sent[0], key) for key in self._api_keys])  # noqa: C419
