"""Who may call: the API key, checked before anything else is looked at."""

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from vectordb.errors import Unauthorized
from vectordb.server.problems import tell_error

_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_HEADER = b"x-api-key"


class RequireAPIKey:
    """ASGI middleware: 401 without the key, on every path but the probes'."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS and not self._has_key(scope):
            await tell_error(Unauthorized("the header X-API-KEY is missing or wrong"))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == _HEADER]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self._api_key)
