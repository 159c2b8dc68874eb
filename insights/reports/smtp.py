"""The dialogue with a mail server, cut where a mail changes hands.

    connect ─> offer: MAIL, RCPT, DATA ─> the server says "354 go on" ─> hand over: text, end of text ─> the answer
              nothing was handed over yet                             from here on the server may have it

What goes wrong until the server has taken MAIL is the same for all mails. From RCPT on it may be this mail's alone,
also where the server hangs up: there are those that do so over an address or a text that they dislike.

Whoever sends can so write down that a mail is about to be handed over at the last moment before it is. What the server
answers to the text decides: taken, refused (it does not have it), or no answer (nobody knows).

Imports neither Django nor Celery.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from insights.errors import ConversationEnded, FateUnknown, MailRefused, MailServerUnavailable

Security = Literal["none", "starttls", "tls"]

# A server that answers each time just before the timeout would hold a sender for ever.
LONGEST_CONNECT_S = 20.0
LONGEST_MAIL_S = 45.0
# Servers look into a mail before they answer. Who does not wait for it does not know what became of it.
ANSWER_TIMEOUT_S = 30.0
MAX_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed over, and how. `timeout_s` bounds each wait for an answer."""

    host: str
    port: int
    security: Security
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 10.0
    own_name: str = "localhost"  # what the server is greeted by

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection that takes mails one after another. Raises MailServerUnavailable."""
        smtp = self._make()
        try:
            with _at_most(LONGEST_CONNECT_S, smtp):
                self._greet(smtp)
        except (OSError, smtplib.SMTPException) as error:  # an ssl.SSLError is an OSError
            smtp.close()
            raise MailServerUnavailable(self._explain(error)) from error
        connection = Connection(smtp)
        try:
            yield connection
        finally:
            connection.close()

    def _make(self) -> smtplib.SMTP:
        if self.security == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(local_hostname=self.own_name, timeout=self.timeout_s, context=context)
        return smtplib.SMTP(local_hostname=self.own_name, timeout=self.timeout_s)

    def _greet(self, smtp: smtplib.SMTP) -> None:
        smtp._host = self.host  # type: ignore[attr-defined]  # what a certificate is checked against: smtplib learns it only where it connects itself
        code, reply = smtp.connect(self.host, self.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        smtp.ehlo_or_helo_if_needed()
        if self.security == "starttls":
            smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo()
        if self.user:
            smtp.login(self.user, self.password)

    def _explain(self, error: Exception) -> str:
        return f"The mail server {self.host}:{self.port} cannot be used: {describe(error)}"


class Connection:
    """Takes one mail at a time: `offer` it, then `hand_over` its text. After an error it takes no other."""

    def __init__(self, smtp: smtplib.SMTP) -> None:
        self._smtp = smtp
        self._is_usable = True

    @property
    def is_usable(self) -> bool:
        """Whether another mail may be offered. Not after the server hung up, or said that it was about to."""
        return self._is_usable

    def offer(self, sender: str, recipient: str) -> None:
        """Have the server agree to sender and recipient.

        Raises MailRefused (of this one; ConversationEnded where the connection went with it), or MailServerUnavailable.
        """
        error_of: type[MailServerUnavailable | ConversationEnded] = MailServerUnavailable
        try:
            with _at_most(LONGEST_MAIL_S, self._smtp):
                self._name_sender(sender)
                error_of = ConversationEnded
                self._ask("RCPT", f"TO:<{recipient}>")
                self._ask("DATA", "", expected=354)
        except (OSError, smtplib.SMTPException) as error:
            self._is_usable = False
            raise error_of(f"The mail server ended the conversation: {describe(error)}") from error

    def hand_over(self, text: bytes) -> None:
        """Give the whole mail, of lines that end in CRLF.

        Raises MailRefused as `offer` does, or FateUnknown when no answer came.
        """
        try:
            with _at_most(LONGEST_MAIL_S, self._smtp):
                self._smtp.send(_as_data(text))
                self._wait_at_most(max(ANSWER_TIMEOUT_S, self._smtp.timeout))
                code, reply = self._smtp.getreply()
                self._wait_at_most(self._smtp.timeout)
        except (OSError, smtplib.SMTPException) as error:
            self._is_usable = False
            raise FateUnknown(f"The connection broke while the mail was handed over: {describe(error)}") from error
        if code // 100 == 2:
            return
        if code // 100 not in (4, 5):
            self._is_usable = False
            raise FateUnknown(f"The mail server's answer was not understood: {_shown(code, reply)}")
        self._refuse("the mail", code, reply)

    def close(self) -> None:
        """Say goodbye, if the server still listens."""
        if self._is_usable:
            with suppress(OSError, smtplib.SMTPException), _at_most(self._smtp.timeout, self._smtp):
                self._smtp.quit()
        self._smtp.close()

    def abandon(self) -> None:
        """Hand over nothing after all: within DATA hanging up is the only way."""
        self._is_usable = False
        self._smtp.close()

    def _name_sender(self, sender: str) -> None:
        """A refusal of the sender is no fault of this mail's: it is the same in all of them."""
        code, reply = self._smtp.docmd("MAIL", f"FROM:<{sender}>")
        if code != 250:
            self._is_usable = False
            raise MailServerUnavailable(f"The mail server refuses MAIL: {_shown(code, reply)}")

    def _ask(self, command: str, arguments: str, *, expected: int = 250) -> None:
        code, reply = self._smtp.docmd(command, arguments)
        if code == expected or (expected == 250 and code == 251):
            return
        self._refuse(command, code, reply)

    def _refuse(self, what: str, code: int, reply: bytes) -> None:
        """One mail's refusal; the server is ready for another then, unless it is closing (421) or talks nonsense."""
        reason = f"The mail server refuses {what}: {_shown(code, reply)}"
        if code == 421 or code // 100 not in (4, 5):
            self._is_usable = False
            raise ConversationEnded(reason)
        try:
            self._smtp.rset()
        except (OSError, smtplib.SMTPException):
            self._is_usable = False
        raise MailRefused(reason, is_permanent=code // 100 == 5)

    def _wait_at_most(self, seconds: float) -> None:
        if self._smtp.sock is not None:
            self._smtp.sock.settimeout(seconds)


@contextmanager
def _at_most(seconds: float, smtp: smtplib.SMTP) -> Iterator[None]:
    """Cut the connection when the block takes longer: whoever waits in it then gets an OSError."""

    def cut() -> None:
        sock = smtp.sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of an SSLSocket, too, without its own ceremony

    watch = threading.Timer(seconds, cut)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _as_data(text: bytes) -> bytes:
    """With dots doubled at the beginning of lines, and the end of the text marked (RFC 5321, 4.5.2)."""
    body = text if text.endswith(b"\r\n") else text + b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", body) + b".\r\n"


def describe(error: Exception) -> str:
    """What an operator should read of it, without a traceback and of bounded length."""
    if isinstance(error, smtplib.SMTPResponseException):
        return _shown(error.smtp_code, error.smtp_error)
    return (str(error) or type(error).__name__)[:MAX_REASON_LENGTH]


def _shown(code: int, reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return f"{code} {' '.join(text.split())}"[:MAX_REASON_LENGTH]
