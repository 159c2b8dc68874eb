"""A server on this machine that plays Sentry's ingest endpoint, and keeps what it is sent."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Ingest:
    """What came, as text, and the address that brings it here."""

    dsn: str
    envelopes: list[str] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Errors and transactions."""
        found = []
        for envelope in list(self.envelopes):
            _, *lines = map(json.loads, filter(None, envelope.splitlines()))
            found += [
                item
                for header, item in zip(lines[::2], lines[1::2], strict=True)
                if header["type"] in ("event", "transaction")
            ]
        return found


@contextmanager
def running_ingest() -> Iterator[Ingest]:
    """Serve from threads of this process until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            ingest.envelopes.append(body.decode())
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """The tests' output stays theirs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ingest = Ingest(f"http://public@127.0.0.1:{server.server_address[1]}/1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield ingest
    finally:
        server.shutdown()
        server.server_close()
