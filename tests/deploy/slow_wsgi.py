"""An application that shows how the web server treats its clients."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Start = Callable[[str, list[tuple[str, str]]], Any]


def application(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    match path:
        case "/echo":
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        case "/ignore":  # a refused call: its body stays unread
            start("401 Unauthorized", [("Content-Length", "2")])
            return [b"no"]
        case "/process":
            body = str(os.getpid()).encode()
            start("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        case "/stream":
            start("200 OK", [("Content-Type", "text/event-stream")])
            return _count(float(query))
        case "/large":
            start("200 OK", [])
            return (b"x" * 1_000_000 for _ in range(200))
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def _count(seconds: float) -> Iterator[bytes]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield b"data: tick\n\n"
        time.sleep(0.05)
    yield b"data: end\n\n"
