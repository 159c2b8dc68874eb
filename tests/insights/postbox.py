"""A real mail server on this machine, which keeps what it takes, and misbehaves as each test asks it to."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from deploy.local.ports import find_free_port
from insights.reports.smtp import MailServer, Security

CERTIFICATE = Path(__file__).parent / "localhost.pem"
HELD_S = 30.0
Behaviour = Callable[["_Server"], Awaitable[str | None]]
ANYBODY = ""


def says(reply: str) -> Behaviour:
    """Answers that, and does no more."""

    async def say(server: _Server) -> str | None:
        return reply

    return say


async def hangs_up(server: _Server) -> str | None:
    server.transport.abort()
    return None


async def is_mute(server: _Server) -> str | None:
    """Listens, and says nothing, for longer than anybody waits."""
    await asyncio.sleep(HELD_S)
    server.transport.abort()
    return None


async def drips(server: _Server) -> str | None:
    """Always says a little more, in time, and never comes to an end."""
    for _ in range(int(HELD_S / 0.05)):
        await server.push("250-wait")
        await asyncio.sleep(0.05)
    return "250 at last"


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that was taken."""

    recipient: str
    message: EmailMessage

    def part(self, subtype: str) -> str:
        found = self.message.get_body((subtype,))
        assert found is not None
        return str(found.get_content())


@dataclass
class Postbox:
    """`behaviours` say what happens instead at MAIL, RCPT, DATA, or when a whole text has come, for whom.

    Under "text, taken" the mail is kept before it happens.
    """

    received: list[Received] = field(default_factory=list)
    behaviours: dict[tuple[str, str], Behaviour] = field(default_factory=dict)
    connections: int = 0
    logins: list[tuple[str, str]] = field(default_factory=list)
    security: Security = "none"
    asks_for_login: bool = False

    def __post_init__(self) -> None:
        self.port = find_free_port()
        self._controller = _Controller(self)

    def start(self) -> Postbox:
        self._controller.start()
        return self

    def stop(self) -> None:
        self._controller.stop(no_assert=True)

    def server(self, **values: Any) -> MailServer:
        """The way to it."""
        given: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "security": self.security, "timeout_s": 5.0}
        return MailServer(**(given | values))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(self.port),
            "EMAIL_SECURITY": self.security,
            "EMAIL_FROM": "Parley <parley@example.com>",
        }

    def counts(self) -> Counter[str]:
        """How many mails each recipient got."""
        return Counter(each.recipient for each in self.received)

    def behaves(self, stage: str, recipient: str) -> Behaviour | None:
        return self.behaviours.get((stage, recipient)) or self.behaviours.get((stage, ANYBODY))

    async def handle_DATA(self, server: _Server, session: Session, envelope: Envelope) -> str:  # noqa: N802
        recipient = envelope.rcpt_tos[0]
        if behaviour := self.behaves("text", recipient):
            return await behaviour(server) or ""
        message = message_from_bytes(envelope.original_content or b"", policy=default)
        assert isinstance(message, EmailMessage)
        self.received.append(Received(recipient, message))
        if behaviour := self.behaves("text, taken", recipient):
            return await behaviour(server) or ""
        return "250 taken"


class _Server(SMTP):
    """aiosmtpd's server, interrupted."""

    def __init__(self, postbox: Postbox, **options: Any) -> None:
        super().__init__(postbox, **options)
        self._postbox = postbox

    def connection_made(self, transport: Any) -> None:
        self._postbox.connections += 1
        super().connection_made(transport)

    async def smtp_MAIL(self, arg: str) -> None:  # noqa: N802
        if not await self._interrupted("MAIL", ANYBODY):
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str) -> None:  # noqa: N802
        if not await self._interrupted("RCPT", arg.partition("<")[2].partition(">")[0]):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if not await self._interrupted("DATA", self.envelope.rcpt_tos[0]):
            await super().smtp_DATA(arg)

    async def _interrupted(self, stage: str, recipient: str) -> bool:
        behaviour = self._postbox.behaves(stage, recipient)
        if behaviour is None:
            return False
        reply = await behaviour(self)
        if reply:
            await self.push(reply)
        return True


class _Controller(Controller):
    def __init__(self, postbox: Postbox) -> None:
        self._postbox = postbox
        tls = None
        if postbox.security != "none":
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(CERTIFICATE)
        self._starttls = tls if postbox.security == "starttls" else None
        super().__init__(
            postbox,
            hostname="127.0.0.1",
            port=postbox.port,
            ssl_context=tls if postbox.security == "tls" else None,
        )

    def factory(self) -> _Server:
        def log_in(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            self._postbox.logins.append((data.login.decode(), data.password.decode()))
            return AuthResult(success=data.password == b"right", handled=False)

        return _Server(
            self._postbox,
            hostname="localhost",
            tls_context=self._starttls,
            authenticator=log_in,
            auth_required=self._postbox.asks_for_login,
            auth_require_tls=False,
        )

    def _trigger_server(self) -> None:
        """The package would connect once to see that it listens; here every connection counts."""
        self._postbox.connections -= 1
        super()._trigger_server()
