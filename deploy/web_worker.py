"""gunicorn's threaded worker, made so that no thread waits for a slow client longer than it should.

Its own reads a request's head in a thread, for as long as the client takes to send it, and lingers over a connection
that it closes in the loop that accepts the others. As many clients as there are threads, each of which sends half a
head and then nothing, so hold up everybody. Here the loop itself collects heads, without waiting; a thread gets a
connection whose head is there, and reads its body, and writes the answer, within bounds.

And where its own accepts as long as there is room for connections, this one leaves new ones to the other processes
while none of its threads is free.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn import http
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_TIMEOUT_S = 15.0
HEAD_SIZE_BYTES = 64 * 1024
BODY_TIMEOUT_S = 15.0
SLOWEST_BYTES_A_S = 50_000  # what has come of a body earns it more time
SEND_TIMEOUT_S = 30.0  # of one write, such as a part of a stream
LINGER_S = 2.0
UNREAD_BYTES = 64 * 1024  # of a body that nobody read; more of it gunicorn does not take off the connection
NOT_ACCEPTING_S = 0.1
RECEIVED_BYTES = 64 * 1024
END_OF_HEAD = b"\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def announcing_the_end(application: Application) -> Application:
    """Have answers say `Connection: close` where the connection ends because too much of the body was left unread.

    Whoever is not told sends the next request into a connection that is gone. gunicorn drops that header of the
    application's own answers.
    """

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def begin(*status_and_headers: Any) -> Any:
            left = getattr(environ["wsgi.input"].reader, "length", 0)
            if left > UNREAD_BYTES:
                start_response.__self__.force_close()
            return start_response(*status_and_headers)

        return application(environ, begin)

    return answer


class BoundedUnreader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads what comes fast enough; otherwise TimeoutError."""

    _deadline = 0.0

    def begin(self) -> None:
        """Of what comes from now on, the first has BODY_TIMEOUT_S."""
        self._deadline = time.monotonic() + BODY_TIMEOUT_S

    def chunk(self, size_hint: int | None = None) -> bytes:
        before = self.sock.gettimeout()
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("The request did not come in time.")
        self.sock.settimeout(left_s if before is None else min(left_s, before))
        try:
            received: bytes = super().chunk(size_hint)
            self._deadline += len(received) / SLOWEST_BYTES_A_S
            return received
        finally:
            self.sock.settimeout(before)


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A client's connection, with what has come of the next request's head. `timeout` is when it is given up."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.head = bytearray()
        self.initialized = self.data_ready = True  # there is no TLS to begin, and no thread is to wait
        self.parser = http.get_parser(self.cfg, self.sock, self.client)
        self.parser.unreader = BoundedUnreader(self.sock)

    @property
    def has_head(self) -> bool:
        return END_OF_HEAD in self.head

    @property
    def is_too_large(self) -> bool:
        return not self.has_head and len(self.head) > HEAD_SIZE_BYTES

    def receive(self) -> bool:
        """Take what is there without waiting; whether the client is still there."""
        try:
            received = self.sock.recv(RECEIVED_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.head += received
        return bool(received)

    def hand_over(self) -> None:
        """Let the parser begin with what came, and a thread read the rest."""
        self.parser.unreader.unread(bytes(self.head))
        self.head.clear()
        self.parser.unreader.begin()

    def take_back(self) -> None:
        """What was read of the request after the one that was answered."""
        self.head += self.parser.unreader.take_buffered()


class BoundedThreadWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """`pending_conns` are new, or have begun a head; `keepalived_conns` may begin another; `closing` only have to hear
    the end.
    """

    wsgi: Application

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        super().check_config(cfg, log)
        if cfg.is_ssl:
            raise ValueError("This worker speaks plain HTTP; TLS is ended by a proxy before it.")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.closing: deque[Connection] = deque()
        self.in_hand = 0  # requests that have a thread, or wait for one

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = announcing_the_end(self.wsgi)

    @property
    def is_busy(self) -> bool:
        return self.in_hand >= int(self.cfg.threads)

    def set_accept_enabled(self, enabled: bool) -> None:
        """As the loop says before each wait, but not while every thread has its request."""
        super().set_accept_enabled(enabled and not self.is_busy)

    def enqueue_req(self, connection: Connection) -> None:
        self.in_hand += 1
        if self.is_busy:  # the loop would find no change, and say nothing
            self.set_accept_enabled(False)
        super().enqueue_req(connection)

    def accept(self, listener: socket.socket) -> None:
        if not self._accepting:  # it was told of the listener and of the last request it has a thread for at once
            return
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another process was faster, or the client has gone
            return
        except OSError as error:  # no descriptor is left, most likely: those that are open go on, and end
            self.log.warning("No connection can be accepted: %s", error)
            time.sleep(NOT_ACCEPTING_S)
            return
        self.nr_conns += 1
        connection = Connection(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + HEAD_TIMEOUT_S
        self.advance(connection)

    def on_client_socket_readable(self, connection: Connection, client: socket.socket) -> None:
        self.poller.unregister(client)
        self.keepalived_conns.remove(connection)
        connection.timeout = time.monotonic() + HEAD_TIMEOUT_S
        self.advance(connection)

    def on_pending_socket_readable(self, connection: Connection, client: socket.socket) -> None:
        is_there = connection.receive()
        if is_there and not connection.has_head and not connection.is_too_large:
            return  # and keeps its place: who sends little by little has no more time than others
        self.poller.unregister(client)
        self.pending_conns.remove(connection)
        self.settle(connection, is_there)

    def advance(self, connection: Connection) -> None:
        """Take what came of the head, and let the loop wait for the rest, if there is one."""
        is_there = connection.has_head or connection.receive()
        if not is_there or connection.has_head or connection.is_too_large:
            self.settle(connection, is_there)
            return
        self.pending_conns.append(connection)
        self.poller.register(
            connection.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, connection)
        )

    def settle(self, connection: Connection, is_there: bool) -> None:
        """Give a connection whose waiting is over to whom it is for."""
        if not is_there:
            self.drop(connection)
        elif connection.is_too_large:
            self.refuse(connection, TOO_LARGE)
        else:
            connection.hand_over()
            self.enqueue_req(connection)

    def handle_request(self, req: Any, connection: Connection) -> Any:
        """In a thread: whether the connection may be kept."""
        connection.sock.settimeout(SEND_TIMEOUT_S)
        connection.parser.unreader.begin()
        try:
            return super().handle_request(req, connection)
        except TimeoutError:
            self.log.info("A client was too slow, and was given up.")
            return False

    def finish_request(self, connection: Connection, outcome: Future[Any]) -> None:
        """Keep the connection for another request, or let it go; in the loop, which must not wait."""
        self.in_hand -= 1
        with suppress(OSError):
            connection.sock.setblocking(False)
        if outcome.cancelled() or outcome.exception() is not None or not outcome.result():
            self.linger(connection)
            return
        connection.take_back()
        if connection.head:
            connection.timeout = time.monotonic() + HEAD_TIMEOUT_S
            self.advance(connection)
            return
        super().finish_request(connection, outcome)

    def _cap_keepalive(self, deadline: float) -> None:
        """At the end of the process, those that have sent nothing yet are not waited for either."""
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)

    def murder_pending(self) -> None:
        """Give up those that take too long. Each deque is in the order of its times: one length holds for all in it."""
        now = time.monotonic()
        while self.pending_conns and self.pending_conns[0].timeout <= now:
            connection = self.pending_conns.popleft()
            self.unregister(connection)
            if connection.head:
                self.refuse(connection, TOO_LATE)
            else:
                self.drop(connection)
        while self.closing and self.closing[0].timeout <= now:
            connection = self.closing.popleft()
            self.unregister(connection)
            self.drop(connection)

    def refuse(self, connection: Connection, answer: bytes) -> None:
        with suppress(OSError):
            connection.sock.send(answer)
        self.linger(connection)

    def linger(self, connection: Connection) -> None:
        """Say that no more comes; drop the connection when the client has heard it, or after a while (RFC 9112, 9.6).

        Closed at once, what is left unread of its request would make the system take back the end of the answer.
        """
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(connection)
            return
        connection.timeout = time.monotonic() + LINGER_S
        self.closing.append(connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(self.on_closing_readable, connection))

    def on_closing_readable(self, connection: Connection, client: socket.socket) -> None:
        connection.head.clear()
        if connection.receive():
            return
        self.unregister(connection)
        self.closing.remove(connection)
        self.drop(connection)

    def unregister(self, connection: Connection) -> None:
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(connection.sock)

    def drop(self, connection: Connection) -> None:
        self.nr_conns -= 1
        connection.close()
