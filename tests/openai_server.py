"""An OpenAI-compatible server on this machine, in a process of its own, that behaves as badly as it is told.

    python -m tests.openai_server [--port N] [--mode ok] [--delay-s 1.0]

It prints its base URL on one line when it is ready. `POST /mode` with `{"mode": ...}` changes its mood, `GET /requests`
tells how many requests came, how many of those that waited were abandoned by their client, and the paths and
authorizations of the last ones.

In mode `ok` chat completions quote the first source of the prompt, or repeat the question where there is none, and
embeddings are deterministic unit vectors: texts that share words are near each other.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

MODES = ("ok", "slow", "hang", "drip", "break_off", "429", "500", "flood", "nonsense", "not_json", "empty")
DIMENSION = 64
RETRY_AFTER_S = 7
LONGEST_WAIT_S = 60.0
FLOOD_BYTES = 400_000_000


class Handler(BaseHTTPRequestHandler):
    """One request. Waiting ends with the mode, so that no test waits for another's."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, {"count": self.server.count, "last": self.server.last, "abandoned": self.server.abandoned})

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))) or b"{}")
        if self.path == "/mode":
            self.server.mode = payload["mode"]
            self._send(200, {"mode": self.server.mode})
            return
        with self.server.lock:
            self.server.count += 1
            self.server.last = [*self.server.last, {"path": self.path, "authorization": self.headers["authorization"]}][
                -9:
            ]
        self._misbehave(self.server.mode, payload)

    def _misbehave(self, mode: str, payload: dict[str, Any]) -> None:
        is_streamed = bool(payload.get("stream"))
        answer = (
            _events(_answer(self.path, payload)) if is_streamed else json.dumps(_answer(self.path, payload)).encode()
        )
        if mode == "slow":
            self._wait(self.server.delay_s)
        elif mode == "hang":
            if is_streamed:  # it begins, and then thinks
                self._start(200, len(answer) * 2)
                self.wfile.write(answer[: len(answer) // 2])
            self._wait(LONGEST_WAIT_S)
            self.close_connection = True
        elif mode == "drip":
            self._drip(answer)
        elif mode == "break_off":
            self._start(200, len(answer))
            self.wfile.write(answer[: len(answer) // 2])
            self.close_connection = True
        elif mode in ("429", "500"):
            self._send(int(mode), {"error": {"message": "no", "type": mode}}, {"Retry-After": str(RETRY_AFTER_S)})
        elif mode == "flood":
            self._flood()
        elif mode == "nonsense":
            self._send(200, {"choices": "yes", "data": [{"embedding": "???"}]})
        elif mode == "not_json":
            self._send_bytes(200, b"<html>Welcome to nginx</html>", {})
        elif mode == "empty":
            self._send(200, {"choices": [], "data": []})
        if mode in ("ok", "slow"):
            self._send_bytes(200, answer, {})

    def _wait(self, seconds: float) -> None:
        """Until then, the next mode, or the client's going away, which `GET /requests` tells."""
        mode, end = self.server.mode, time.monotonic() + seconds
        while time.monotonic() < end and self.server.mode == mode:
            readable, _, _ = select.select([self.connection], [], [], 0.05)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                with self.server.lock:
                    self.server.abandoned += 1
                return

    def _drip(self, answer: bytes) -> None:
        self._start(200, 1_000_000)
        for byte in answer:
            self.wfile.write(bytes([byte]))
            self._wait(0.3)
            if self.server.mode != "drip":
                break
        self.close_connection = True

    def _flood(self) -> None:
        """Refuse with a body of hundreds of megabytes."""
        self._start(500, FLOOD_BYTES)
        for _ in range(FLOOD_BYTES // 1_000_000):
            self.wfile.write(b" " * 1_000_000)

    def _start(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(body).encode(), headers or {})

    def _send_bytes(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._start(status, len(body), headers)
        self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away, as it should
            return

    def log_message(self, *arguments: object) -> None:
        """The tests' output stays theirs."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, mode: str, delay_s: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.mode = mode
        self.delay_s = delay_s
        self.count = 0
        self.abandoned = 0
        self.last: list[dict[str, Any]] = []
        self.lock = threading.Lock()


def _answer(path: str, payload: dict[str, Any]) -> dict[str, Any]:
    if path.endswith("/embeddings"):
        texts = [payload["input"]] if isinstance(payload["input"], str) else payload["input"]
        is_base64 = payload.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": n, "embedding": _embed(text, is_base64)} for n, text in enumerate(texts)
        ]
        return {"object": "list", "model": payload.get("model"), "data": data, "usage": {}}
    said = _complete(payload["messages"][-1]["content"])
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": payload.get("model"), "choices": [choice]}


def _events(answer: dict[str, Any]) -> bytes:
    """The answer in events of a word each, and one of its role, as providers send them."""
    words = re.findall(r"\S+\s*", answer["choices"][0]["message"]["content"])
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": word} for word in words), {}]
    lines = []
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
        lines.append(f"data: {json.dumps({**answer, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n")
    return ("".join(lines) + "data: [DONE]\n\n").encode()


def _complete(request: str) -> str:
    source = re.search(r'<source number="(\d+)"[^>]*>\n(.*?)\n</source>', request, re.DOTALL)
    if source:
        return f"It says: {' '.join(source[2].split())[:80]} [{source[1]}]."
    question = re.search(r"<question>\n(.*?)\n</question>", request, re.DOTALL)
    return question[1] if question else request


def _embed(text: str, is_base64: bool) -> list[float] | str:
    vector = np.zeros(DIMENSION, dtype=np.float32)
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:4], "little") % DIMENSION] += 1.0 if digest[4] % 2 else -1.0
    if not vector.any():
        vector[0] = 1.0
    unit = (vector / np.linalg.norm(vector)).astype("<f4")
    return base64.b64encode(unit.tobytes()).decode() if is_base64 else unit.tolist()


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server process. `base_url` is what `LLM_BASE_URL` and `EMBEDDER_BASE_URL` want."""

    base_url: str

    def set_mode(self, mode: str) -> None:
        body = json.dumps({"mode": mode}).encode()
        request = urllib.request.Request(f"{self.base_url.removesuffix('/v1')}/mode", data=body)
        with urllib.request.urlopen(request, timeout=5):
            return

    def read_requests(self) -> dict[str, Any]:
        """Return `count`, `abandoned`, and `last`: the path and the authorization of the last requests."""
        with urllib.request.urlopen(f"{self.base_url.removesuffix('/v1')}/requests", timeout=5) as response:
            told: dict[str, Any] = json.load(response)
            return told


@contextmanager
def running_openai_server(mode: str = "ok", *, delay_s: float = 1.0) -> Iterator[RunningServer]:
    """Start a server process on a free port; it ends with the block."""
    command = [sys.executable, "-m", "tests.openai_server", "--mode", mode, "--delay-s", str(delay_s)]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield RunningServer(process.stdout.readline().strip())
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", choices=MODES, default="ok")
    parser.add_argument("--delay-s", type=float, default=1.0)
    arguments = parser.parse_args()
    server = Server(arguments.port, arguments.mode, arguments.delay_s)
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)  # noqa: T201 - the way to tell its port
    server.serve_forever()


if __name__ == "__main__":
    main()
