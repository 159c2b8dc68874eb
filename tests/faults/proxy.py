"""A bad network: a TCP proxy of real sockets that passes, delays, mutes, drops, freezes, refuses or cuts as it is told.

    with FaultyProxy(("127.0.0.1", 5432)) as proxy:     # or the path of a unix socket
        connect("127.0.0.1", proxy.port)
        proxy.behave("frozen")

It lives in threads of the process that makes it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

Behaviour = Literal[
    "passing",  # as if it were not there
    "delaying",  # every piece arrives `delay_s` late
    "mute",  # accepts, swallows what it is sent, never answers
    "dropping",  # no new connection comes about (its SYN is not answered); old ones move nothing
    "frozen",  # the network of a stopped process: connections come about, and nothing moves
    "refusing",  # old connections are reset, new ones refused
]
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)
Address = tuple[str, int] | Path

PIECE_SIZE_BYTES = 65_536
POLL_S = 0.02
BACKLOG = 128
CONNECT_TIMEOUT_S = 5.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultyProxy:
    """Forwards connections to `target`, and misbehaves."""

    def __init__(self, target: Address, *, delay_s: float = 0.1) -> None:
        self.delay_s = delay_s
        self._target = target
        self._behaviour: Behaviour = "passing"
        self._changed = threading.Condition()
        self._is_closed = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._fillers: dict[object, socket.socket] = {}
        self._cut_after_bytes: int | None = None
        self._listener: socket.socket | None = _listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept_forever, name="proxy", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def behave(self, behaviour: Behaviour) -> None:
        """From now on, for connections that are there as for new ones. Whatever a freeze held back arrives after it."""
        with self._changed:
            if self._behaviour == "dropping":
                self._answer_connects_again()
            self._behaviour = behaviour
            if behaviour == "refusing":
                self._stop_listening()
            elif self._listener is None:
                self._listener = _listen(self.port)
            if behaviour == "dropping":
                self._leave_connects_unanswered()
            self._changed.notify_all()
        if behaviour == "refusing":
            self.cut()

    def cut(self) -> None:
        """Reset every connection that is there."""
        with self._changed:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _reset(*pair)

    def cut_after(self, size_bytes: int) -> None:
        """Let so much more through from the target, all connections together, then cut, in mid-stream."""
        with self._changed:
            self._cut_after_bytes = size_bytes

    @property
    def connections(self) -> int:
        """How many it holds now."""
        with self._changed:
            return len(self._pairs)

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._stop_listening()
            for filler in self._fillers.values():
                filler.close()
            self._changed.notify_all()
        self.cut()
        for thread in self._threads:
            thread.join()

    # -- connecting ---------------------------------------------------------------------------------------------------

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _leave_connects_unanswered(self) -> None:
        """Fill the queue of connections that nobody accepts: Linux then leaves further SYNs unanswered."""
        assert self._listener is not None
        self._listener.listen(0)
        while True:
            filler = socket.socket()
            filler.settimeout(0.1)
            try:
                filler.connect(self.address)
            except TimeoutError:
                filler.close()
                return
            self._fillers[filler.getsockname()] = filler

    def _answer_connects_again(self) -> None:
        assert self._listener is not None
        self._listener.listen(BACKLOG)
        for filler in self._fillers.values():
            filler.close()

    def _accept_forever(self) -> None:
        while not self._is_closed:
            with self._changed:
                client = self._accept()
            if client is None:
                time.sleep(POLL_S)
                continue
            self._connect(client)

    def _accept(self) -> socket.socket | None:
        if self._listener is None or self._behaviour == "dropping":
            return None
        try:
            client, peer = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return None
        if self._fillers.pop(peer, None) is not None:
            client.close()
            return None
        client.setblocking(True)
        return client

    def _connect(self, client: socket.socket) -> None:
        # a mute or frozen proxy reaches its target too, so that a connection may thaw
        family = socket.AF_UNIX if isinstance(self._target, Path) else socket.AF_INET
        server = socket.socket(family)
        server.settimeout(CONNECT_TIMEOUT_S)
        try:
            server.connect(str(self._target) if isinstance(self._target, Path) else self._target)
        except OSError:
            _reset(client, server)
            return
        server.settimeout(None)
        with self._changed:
            if self._is_closed or self._behaviour == "refusing":
                _reset(client, server)
                return
            self._pairs.append((client, server))
        for source, sink, is_answer in ((client, server, False), (server, client, True)):
            thread = threading.Thread(target=self._pump, args=(source, sink, is_answer), name="proxy", daemon=True)
            self._threads.append(thread)
            thread.start()

    # -- moving bytes -------------------------------------------------------------------------------------------------

    def _pump(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_SIZE_BYTES):
                if self._may_pass(piece, is_answer):
                    sink.sendall(piece)
        self._end(source, sink)

    def _may_pass(self, piece: bytes, is_answer: bool) -> bool:
        """Wait as long as nothing moves; False for what is swallowed. Raises OSError where the stream is cut."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._behaviour not in ("frozen", "dropping"))
            behaviour = self._behaviour
            if is_answer and self._cut_after_bytes is not None:
                self._cut_after_bytes -= len(piece)
                if self._cut_after_bytes < 0:
                    self._cut_after_bytes = None
                    raise ConnectionResetError
        if behaviour == "delaying":
            time.sleep(self.delay_s)
        return behaviour != "mute"

    def _end(self, source: socket.socket, sink: socket.socket) -> None:
        with self._changed:
            for pair in [pair for pair in self._pairs if source in pair]:
                self._pairs.remove(pair)
        _reset(source, sink)


def _listen(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    listener.setblocking(False)
    return listener


def _reset(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            if each.family == socket.AF_INET:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            each.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it; then close() resets
        with contextlib.suppress(OSError):
            each.close()
