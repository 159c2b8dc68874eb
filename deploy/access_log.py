"""gunicorn's access log, which nobody can write lines of his own into."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from gunicorn.glogging import Logger


class EscapingLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Writes the path as it was sent, percent-encoded: decoded, it may hold line ends and control characters."""

    def atoms(self, *arguments: Any) -> dict[str, Any]:
        atoms: dict[str, Any] = super().atoms(*arguments)
        path = str(atoms.get("U", "")).encode("latin-1", "replace")  # as WSGI hands bytes on
        return {**atoms, "U": quote(path, safe="/:@!$&'()*+,;=~-._")}
