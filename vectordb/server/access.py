"""Who may call: the API key, checked before anything else is looked at."""

import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from vectordb.errors import Unauthorized
from vectordb.server.problems import tell_error

_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_METRICS_PATH = "/metrics"
_HEADER = b"x-api-key"


class RequireAPIKey:
    """ASGI middleware: 401 without one of the keys, on every path but the probes'.

    Prometheus cannot send every header: to its path a key, or a token that opens that path alone, may also come as a
    bearer token.
    """

    def __init__(self, app: ASGIApp, api_keys: Sequence[str], metrics_token: str | None) -> None:
        self._app = app
        self._api_keys = [key.encode() for key in api_keys]
        self._bearer_tokens = [f"Bearer {token}".encode() for token in (*api_keys, metrics_token) if token]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS and not self._may_pass(scope):
            await tell_error(Unauthorized("the header X-API-KEY is missing or wrong"))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["path"] == _METRICS_PATH and _is_sent(scope, b"authorization", self._bearer_tokens):
            return True
        return _is_sent(scope, _HEADER, self._api_keys)


def _is_sent(scope: Scope, header: bytes, expected: Sequence[bytes]) -> bool:
    sent = [value for name, value in scope["headers"] if name == header]
    return len(sent) == 1 and any([hmac.compare_digest(sent[0], each) for each in expected])  # noqa: C419
