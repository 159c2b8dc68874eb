"""A real HTTP server on this machine that answers the requests of an OpenAI client as each test asks it to."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIMENSION = 8
Behaviour = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request and what is done to it. `server.released` is set when the test ends, so that nothing hangs longer."""

    server: MisbehavingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.payload: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            number = len(self.server.payloads)
            self.server.payloads.append(self.payload)
            self.server.authorizations.append(self.headers["authorization"])
        behaviours = self.server.behaviours
        behaviours[min(number, len(behaviours) - 1)](self)

    def send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """The tests' output stays theirs."""


class MisbehavingServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *behaviours: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.behaviours = behaviours
        self.payloads: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *arguments: object) -> None:
        """A client that gives up is what the tests are about."""


@contextmanager
def serve(*behaviours: Behaviour) -> Iterator[MisbehavingServer]:
    """The n-th request gets the n-th behaviour, later ones the last."""
    server = MisbehavingServer(*behaviours)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def vector_of(text: str) -> np.ndarray:
    """A vector that depends on the text, not of unit length."""
    return np.random.default_rng(list(text.encode())).normal(size=DIMENSION).astype("<f4") * 7


def answer_well(exchange: Exchange) -> None:
    items = [
        {"object": "embedding", "index": index, "embedding": base64.b64encode(vector_of(text).tobytes()).decode()}
        for index, text in enumerate(exchange.payload["input"])
    ]
    exchange.send(json.dumps({"object": "list", "data": items[::-1], "model": "m"}).encode())


def answer_plain_lists_without_index(exchange: Exchange) -> None:
    items = [{"embedding": [float(part) for part in vector_of(text)]} for text in exchange.payload["input"]]
    exchange.send(json.dumps({"data": items}).encode())


def answer_data(data: object) -> Behaviour:
    return lambda exchange: exchange.send(json.dumps({"data": data}).encode())


def answer_body(body: bytes, **headers: str) -> Behaviour:
    return lambda exchange: exchange.send(body, headers=headers)


def answer_status(status: int, **headers: str) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        # As unkind as providers get: the body quotes what was sent.
        quoted = {"error": {"message": f"{exchange.headers['authorization']} {exchange.payload['input']}"}}
        exchange.send(json.dumps(quoted).encode(), status, headers)

    return behave


def hang(exchange: Exchange) -> None:
    exchange.server.released.wait()
    exchange.close_connection = True


def trickle_headers(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while not exchange.server.released.wait(0.02):
        exchange.wfile.write(b"a")


def trickle_body(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    while not exchange.server.released.wait(0.02):
        exchange.wfile.write(b" ")


def flood(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000000000\r\n\r\n")
    while not exchange.server.released.is_set():
        exchange.wfile.write(b" " * 100_000)


def break_off(exchange: Exchange) -> None:
    exchange.wfile.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"data": [')
    exchange.close_connection = True


def close_at_once(exchange: Exchange) -> None:
    exchange.close_connection = True


def talk_no_http(exchange: Exchange) -> None:
    exchange.wfile.write(b"\x00\xff this is no HTTP\r\n\r\n")
    exchange.close_connection = True
