"""gunicorn's access log, which nobody can write lines of his own into."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from gunicorn.glogging import Logger

from observability import request_id


class EscapingLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Writes the path as it was sent, percent-encoded: decoded, it may hold line ends and control characters."""

    def atoms(self, *arguments: Any) -> dict[str, Any]:
        atoms: dict[str, Any] = super().atoms(*arguments)
        path = str(atoms.get("U", "")).encode("latin-1", "replace")  # as WSGI hands bytes on
        return {**atoms, "U": quote(path, safe="/:@!$&'()*+,;=~-._")}

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """The line names the request as the application's own lines do."""
        named = (value for name, value in resp.headers if name.lower() == request_id.HEADER.lower())
        with request_id.serving(next(named, request_id.NONE)):
            super().access(resp, req, environ, request_time)
