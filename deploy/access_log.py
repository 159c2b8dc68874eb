"""gunicorn's logs: nobody can write lines of his own into them, and no question and no key stands there."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from gunicorn.glogging import Logger

from observability import request_id
from observability.discretion import blank_secret_paths

_REFUSAL = re.compile(r"(Invalid request from ip=\S+: [^:]+)")  # and then what was sent: a header, say, with a key


class EscapingLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Writes the path as it was sent, percent-encoded: decoded, it may hold line ends and control characters."""

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """What is wrong with a request is told, and nothing of what it held."""
        refusal = _REFUSAL.match(str(msg))
        super().warning(refusal[1] if refusal else msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Without query strings, which may hold questions, and without what opens something."""
        shown = (blank_secret_paths(arg.partition("?")[0]) if isinstance(arg, str) else arg for arg in args)
        super().exception(msg, *shown, **kwargs)

    def atoms(self, *arguments: Any) -> dict[str, Any]:
        atoms: dict[str, Any] = super().atoms(*arguments)
        shown = blank_secret_paths(str(atoms.get("U", "")))
        path = shown.encode("latin-1", "replace")  # as WSGI hands bytes on
        return {**atoms, "U": quote(path, safe="/:@!$&'()*+,;=~-._")}

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """The line names the request as the application's own lines do."""
        named = (value for name, value in resp.headers if name.lower() == request_id.HEADER.lower())
        with request_id.serving(next(named, request_id.NONE)):
            super().access(resp, req, environ, request_time)
