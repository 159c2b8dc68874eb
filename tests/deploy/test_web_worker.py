"""The web server's worker: slow clients hold up nobody, and whoever asked is answered before it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import find_free_port
from deploy.local.services import answers

ROOT = Path(__file__).resolve().parents[2]
THREADS = 4
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX-More: "
ASK_FOR_PROCESS = b"GET /process HTTP/1.1\r\nHost: x\r\n\r\n"
# the bounds of the real one, made short
SHORT = """
import gunicorn.workers.gthread
import deploy.web_worker as worker
gunicorn.workers.gthread.STOP_KEEPALIVE_LINGER = 0.3
worker.HEAD_TIMEOUT_S = worker.BODY_TIMEOUT_S = 1.0
worker.SEND_TIMEOUT_S = 1.0
worker.LINGER_S = 0.5
worker_class = "deploy.web_worker.BoundedThreadWorker"
wsgi_app = "tests.deploy.slow_wsgi:application"
workers = 1
threads = 4
keepalive = 5
graceful_timeout = 20
control_socket_disable = True
"""


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def get(self, path: str = "/") -> tuple[int, float]:
        """The status, and how many seconds it took."""
        started = time.monotonic()
        status = httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10).status_code
        return status, time.monotonic() - started


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as stack:
        yield start(tmp_path_factory.mktemp("web"), stack)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        yield start(tmp_path, stack)


def start(folder: Path, stack: ExitStack, more: str = "") -> Server:
    (folder / "conf.py").write_text(SHORT + more)
    port = find_free_port()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", str(folder / "conf.py"), "--bind", f"127.0.0.1:{port}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    deadline = time.monotonic() + 30
    while not answers(port, "/"):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return Server(process, port, log)


def read_all(client: socket.socket) -> bytes:
    """Until the server says that there is no more."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("sent", [b"", b"G", HALF_A_HEAD])
def test_clients_that_stop_in_the_middle_of_a_head_hold_up_nobody(shared: Server, sent: bytes):
    with ExitStack() as stack:
        for _ in range(10 * THREADS):
            stack.enter_context(shared.connect()).sendall(sent)
        status, seconds = shared.get()
    assert status == 200
    assert seconds < 1.0


def test_whoever_sends_a_head_little_by_little_is_given_up(shared: Server):
    with shared.connect() as client:
        client.sendall(HALF_A_HEAD)
        client.settimeout(0.1)
        started = time.monotonic()
        answer = b""
        while not answer and time.monotonic() < started + 8:
            client.sendall(b"x")
            with suppress(TimeoutError):
                answer = client.recv(100)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_who_is_given_up_is_told(shared: Server):
    with shared.connect() as client:
        client.sendall(HALF_A_HEAD)
        assert read_all(client).startswith(b"HTTP/1.1 408 ")


def test_who_says_nothing_is_let_go(shared: Server):
    with shared.connect() as client:
        assert read_all(client) == b""


def test_a_head_without_end_is_refused(shared: Server):
    with shared.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 9000)
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")


def test_a_body_that_does_not_come_gives_its_thread_back(shared: Server):
    with ExitStack() as stack:
        for _ in range(THREADS):
            client = stack.enter_context(shared.connect())
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        status, seconds = shared.get()
    assert status == 200
    assert seconds < 5


def test_a_body_that_trickles_in_is_given_up_however_large_it_is_said_to_be(shared: Server):
    with shared.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 15000000\r\n\r\n")
        client.settimeout(0.1)
        answer, started = None, time.monotonic()
        while answer is None and time.monotonic() < started + 8:
            with suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
                client.sendall(b"x")
                answer = client.recv(100)
    assert time.monotonic() - started < 5


def test_an_answer_that_is_not_taken_gives_its_thread_back(shared: Server):
    with ExitStack() as stack:
        for _ in range(THREADS):
            client = stack.enter_context(shared.connect())
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        status, seconds = shared.get()
    assert status == 200
    assert seconds < 5


def test_clients_that_do_not_hang_up_hold_up_nobody(shared: Server):
    with ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(shared.connect())
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status, seconds = shared.get()
    assert status == 200
    assert seconds < 1.0


def test_a_head_may_come_in_parts(shared: Server):
    with shared.connect() as client:
        for part in (
            b"POST /echo HT",
            b"TP/1.1\r\nHost: x\r\nContent-Le",
            b"ngth: 5\r\nConnection: close\r",
            b"\n\r",
            b"\nhel",
        ):
            client.sendall(part)
            time.sleep(0.02)
        client.sendall(b"lo")
        assert read_all(client).endswith(b"\r\n\r\nhello")


def test_a_large_body_is_read_whole(shared: Server):
    body = os.urandom(3_000_000)
    assert httpx.post(f"http://127.0.0.1:{shared.port}/echo", content=body, timeout=20).content == body


def test_requests_that_follow_each_other_on_a_connection_are_answered_in_turn(shared: Server):
    with shared.connect() as client:
        one = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
        client.sendall(one + b"abc" + one + b"def" + one[:20])
        time.sleep(0.2)
        client.sendall(one[20:] + b"ghi" + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = read_all(client)
    assert [part for part in (b"abc", b"def", b"ghi", b"ok") if part in answer] == [b"abc", b"def", b"ghi", b"ok"]
    assert answer.count(b"HTTP/1.1 200") == 4


def test_half_a_request_behind_a_whole_one_holds_no_thread(shared: Server):
    with ExitStack() as stack:
        for _ in range(2 * THREADS):
            client = stack.enter_context(shared.connect())
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + HALF_A_HEAD)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        status, seconds = shared.get()
    assert status == 200
    assert seconds < 1.0


def test_an_unread_body_is_not_taken_for_the_next_request(shared: Server):
    with shared.connect() as client:
        hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(hidden), hidden))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = read_all(client)
    assert answer.count(b"HTTP/1.1") == 2
    assert answer.endswith(b"ok")


@pytest.mark.parametrize(("size", "is_kept"), [(60_000, True), (1_000_000, False)])
def test_who_is_refused_with_a_large_body_unread_is_told_that_the_connection_ends(
    shared: Server, size: int, is_kept: bool
):
    with httpx.Client(base_url=f"http://127.0.0.1:{shared.port}", timeout=10) as client:
        for _ in range(5):
            refused = client.post("/ignore", content=b"x" * size)
            assert refused.status_code == 401
            assert (refused.headers["Connection"] == "keep-alive") == is_kept
            assert client.get("/").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stream_under_way_is_ended_before_the_process(own: Server, number: signal.Signals):
    with own.connect() as client, own.connect() as silent:
        client.sendall(b"GET /stream?1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(10)
        own.process.send_signal(number)
        answer = read_all(client)
        assert b"data: end" in answer
        assert silent
    if number == signal.SIGHUP:
        assert own.get()[0] == 200
        return
    assert own.process.wait(10) == 0


def test_a_process_that_serves_nobody_ends_at_once(own: Server):
    with httpx.Client(base_url=f"http://127.0.0.1:{own.port}") as kept, own.connect():
        kept.get("/")
        started = time.monotonic()
        own.process.terminate()
        assert own.process.wait(10) == 0
    assert time.monotonic() - started < 5


def read_process(client: socket.socket) -> int:
    head, body = client.recv(1000).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    return int(body or client.recv(1000))


def process_of(client: socket.socket) -> int:
    """Which process serves a connection, which is kept."""
    client.sendall(ASK_FOR_PROCESS)
    return read_process(client)


def connect_to_both(server: Server, stack: ExitStack) -> list[list[socket.socket]]:
    """For each of two processes, as many kept connections as it has threads."""
    by_process: dict[int, list[socket.socket]] = {}
    deadline = time.monotonic() + 30
    while len(by_process) < 2 or min(map(len, by_process.values())) < THREADS:
        assert time.monotonic() < deadline, by_process.keys()
        client = stack.enter_context(server.connect())
        connected = by_process.setdefault(process_of(client), [])
        if len(connected) < THREADS:
            connected.append(client)
            continue
        client.close()
        time.sleep(0.01)  # the other one is still starting
    return list(by_process.values())


def occupy(clients: list[socket.socket]) -> None:
    for client in clients:
        client.sendall(b"GET /stream?60 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(10)


def test_a_process_whose_threads_are_busy_leaves_new_connections_to_the_other(tmp_path: Path):
    with ExitStack() as stack:
        server = start(tmp_path, stack, "workers = 2\n")
        one, other = connect_to_both(server, stack)
        busy, idle = process_of(one[0]), process_of(other[0])
        occupy(one)
        for _ in range(20):
            with server.connect() as client:
                assert process_of(client) == idle
        occupy(other)
        waiting = stack.enter_context(server.connect())
        waiting.sendall(ASK_FOR_PROCESS)
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            read_process(waiting)
        one.pop().close()  # its thread is free, and takes what waits
        waiting.settimeout(10)
        assert read_process(waiting) == busy


FEW_DESCRIPTORS = """
import resource
def post_worker_init(worker):
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
"""


def test_more_clients_than_descriptors_end_no_process(tmp_path: Path):
    with ExitStack() as stack:
        server = start(tmp_path, stack, FEW_DESCRIPTORS)
        with ExitStack() as clients:
            for _ in range(100):
                clients.enter_context(server.connect())
            time.sleep(0.3)
        assert server.get()[0] == 200
    log = server.log.read_text()
    assert "No connection can be accepted" in log
    assert log.count("Booting worker") == 1


def test_clients_faults_leave_no_traceback(shared: Server):
    assert "Traceback" not in shared.log.read_text()
