"""The proxy does to real connections what it says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.faults.proxy import FaultyProxy

SOON_S = 0.3


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that says back what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(ConnectionError):
                while piece := connection.recv(65_536):
                    connection.sendall(piece)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[FaultyProxy]:
    with FaultyProxy(echo) as proxy:
        yield proxy


def connect(proxy: FaultyProxy) -> socket.socket:
    return socket.create_connection(proxy.address, timeout=SOON_S)


def say(connection: socket.socket, word: bytes) -> bytes:
    connection.sendall(word)
    return connection.recv(100)


def test_it_passes_and_delays(proxy: FaultyProxy):
    with connect(proxy) as connection:
        assert say(connection, b"hello") == b"hello"
        proxy.behave("delaying")
        assert say(connection, b"later") == b"later"


def test_a_mute_one_accepts_and_swallows(proxy: FaultyProxy):
    with connect(proxy) as old:
        assert say(old, b"hello") == b"hello"
        proxy.behave("mute")
        with connect(proxy) as new:
            for connection in (old, new):
                with pytest.raises(TimeoutError):
                    say(connection, b"anybody?")
        proxy.behave("passing")
        assert say(old, b"hello") == b"hello"


def test_what_a_frozen_one_held_back_arrives_when_it_thaws(proxy: FaultyProxy):
    with connect(proxy) as old:
        proxy.behave("frozen")
        with connect(proxy) as new, pytest.raises(TimeoutError):
            say(new, b"anybody?")
        with pytest.raises(TimeoutError):
            say(old, b"still there?")
        proxy.behave("passing")
        assert old.recv(100) == b"still there?"


def test_a_dropping_one_answers_no_connect_and_recovers(proxy: FaultyProxy):
    with connect(proxy) as old:
        assert say(old, b"hello") == b"hello"
        proxy.behave("dropping")
        with pytest.raises(TimeoutError):
            connect(proxy)
        with pytest.raises(TimeoutError):
            say(old, b"still there?")
        proxy.behave("passing")
        assert old.recv(100) == b"still there?"
    with socket.create_connection(proxy.address, timeout=5) as new:
        assert say(new, b"hello") == b"hello"


def test_a_refusing_one_resets_and_refuses_and_recovers(proxy: FaultyProxy):
    with connect(proxy) as old:
        assert say(old, b"hello") == b"hello"
        proxy.behave("refusing")
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert is_over(old)
    proxy.behave("passing")
    with connect(proxy) as new:
        assert say(new, b"hello") == b"hello"


def test_a_cut_comes_in_mid_stream(proxy: FaultyProxy):
    with connect(proxy) as connection:
        assert say(connection, b"hello") == b"hello"
        proxy.cut_after(4)
        assert is_over(connection, b"hello")
    with connect(proxy) as connection:
        assert say(connection, b"hello") == b"hello"


def is_over(connection: socket.socket, word: bytes = b"?") -> bool:
    try:
        return say(connection, word) == b""
    except ConnectionError:
        return True
