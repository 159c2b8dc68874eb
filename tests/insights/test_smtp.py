"""What becomes of one mail, by what the mail server says and does, over real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from insights.errors import ConversationEnded, FateUnknown, MailRefused, MailServerUnavailable
from insights.reports import smtp
from insights.reports.smtp import MailServer
from tests.insights.postbox import ANYBODY, CERTIFICATE, Behaviour, Postbox, drips, hangs_up, is_mute, says

FROM, ADA, BOB = "parley@example.com", "ada@example.com", "bob@example.com"
TEXT = b"Subject: Hello\r\n\r\nDear Ada,\r\n.\r\n..two dots\r\nyours\r\n"
FAST = 0.3
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")  # the tests' server says it


@pytest.fixture
def start() -> Iterator[Callable[..., Postbox]]:
    """A postbox that misbehaves as its arguments say."""
    started: list[Postbox] = []

    def start(behaviours: dict[tuple[str, str], Behaviour] | None = None, **options: object) -> Postbox:
        postbox = Postbox(behaviours=behaviours or {}, **options).start()  # type: ignore[arg-type]
        started.append(postbox)
        return postbox

    yield start
    for postbox in started:
        postbox.stop()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "ANSWER_TIMEOUT_S", FAST)


def send(server: MailServer, *recipients: str, text: bytes = TEXT) -> list[Exception | None]:
    """What each met, over one connection."""
    met: list[Exception | None] = []
    with server.connect() as connection:
        for recipient in recipients:
            try:
                connection.offer(FROM, recipient)
                connection.hand_over(text)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
                met.append(error)
            else:
                met.append(None)
    return met


def test_mails_are_taken_one_after_another_over_one_connection_as_they_are(start: Callable[..., Postbox]):
    postbox = start()
    assert send(postbox.server(), ADA, BOB) == [None, None]
    assert [each.recipient for each in postbox.received] == [ADA, BOB]
    assert postbox.received[0].message.get_content().splitlines() == ["Dear Ada,", ".", "..two dots", "yours"]
    assert postbox.connections == 1


@pytest.mark.parametrize("stage", ["RCPT", "DATA", "text"])
@pytest.mark.parametrize(("reply", "is_permanent"), [("450 later", False), ("550 never", True)])
def test_a_refusal_is_of_that_mail_alone(start: Callable[..., Postbox], stage: str, reply: str, is_permanent: bool):
    postbox = start({(stage, ADA): says(reply)})
    (refused, taken) = send(postbox.server(), ADA, BOB)
    assert isinstance(refused, MailRefused)
    assert refused.is_permanent == is_permanent
    assert reply in str(refused)
    assert taken is None
    assert postbox.counts() == {BOB: 1}


@pytest.mark.parametrize("reply", ["450 later", "550 you may not send"])
def test_a_refusal_of_the_sender_is_of_all_mails(start: Callable[..., Postbox], reply: str):
    postbox = start({("MAIL", ANYBODY): says(reply)})
    (met,) = send(postbox.server(), ADA)
    assert isinstance(met, MailServerUnavailable)
    assert reply in str(met)


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("MAIL", MailServerUnavailable),
        ("RCPT", ConversationEnded),
        ("DATA", ConversationEnded),
        ("text", ConversationEnded),
    ],
)
def test_a_server_that_is_closing_takes_no_more(start: Callable[..., Postbox], stage: str, kind: type[Exception]):
    postbox = start({(stage, ANYBODY): says("421 closing")})
    met, next_met = send(postbox.server(), ADA, BOB)
    assert isinstance(met, kind)
    assert "421 closing" in str(met)
    assert next_met is not None
    assert not postbox.received


@pytest.mark.parametrize("behaviour", [hangs_up, is_mute])
@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("MAIL", MailServerUnavailable),
        ("RCPT", ConversationEnded),
        ("DATA", ConversationEnded),
        ("text", FateUnknown),
        ("text, taken", FateUnknown),
    ],
)
def test_silence_leaves_a_mails_fate_unknown_only_after_its_text(
    start: Callable[..., Postbox], behaviour: Behaviour, stage: str, kind: type[Exception]
):
    postbox = start({(stage, ANYBODY): behaviour})
    (met,) = send(postbox.server(timeout_s=FAST), ADA)
    assert type(met) is kind
    assert len(postbox.received) == (stage == "text, taken")


def test_an_answer_that_is_none_leaves_the_fate_unknown(start: Callable[..., Postbox]):
    (met,) = send(start({("text", ANYBODY): says("nonsense")}).server(), ADA)
    assert isinstance(met, FateUnknown)


@pytest.mark.parametrize(("stage", "kind"), [("RCPT", ConversationEnded), ("text", FateUnknown)])
def test_a_server_that_always_says_a_little_more_is_not_listened_to_for_ever(
    start: Callable[..., Postbox], monkeypatch: pytest.MonkeyPatch, stage: str, kind: type[Exception]
):
    monkeypatch.setattr(smtp, "LONGEST_MAIL_S", FAST)
    (met,) = send(start({(stage, ANYBODY): drips}).server(), ADA)
    assert type(met) is kind


def test_a_server_that_is_not_there_is_named(start: Callable[..., Postbox]):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        server = MailServer("127.0.0.1", port, "none", timeout_s=FAST)
        with pytest.raises(MailServerUnavailable, match=f":{port} cannot be used"), server.connect():
            pass


def test_a_server_that_never_greets_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = MailServer("127.0.0.1", mute.getsockname()[1], "none", timeout_s=FAST)
        begun = time.monotonic()
        with pytest.raises(MailServerUnavailable), server.connect():
            pass
        assert time.monotonic() - begun < 20 * FAST


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_over_tls_with_a_login(start: Callable[..., Postbox], monkeypatch: pytest.MonkeyPatch, security: str):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    postbox = start(security=security, asks_for_login=True)
    assert send(postbox.server(host="localhost", user="parley", password="right"), ADA) == [None]
    assert set(postbox.logins) == {("parley", "right")}


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_is_not_accepted(start: Callable[..., Postbox], security: str):
    server = start(security=security).server()
    with pytest.raises(MailServerUnavailable, match="certificate"), server.connect():
        pass


def test_a_certificate_of_another_name_is_not_accepted(start: Callable[..., Postbox], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    server = start(security="starttls").server(host="127.0.0.2")
    monkeypatch.setattr(socket, "create_connection", _to_this_machine(socket.create_connection))
    with pytest.raises(MailServerUnavailable, match=r"127\.0\.0\.2"), server.connect():
        pass


def test_without_starttls_nothing_is_said_in_the_open(start: Callable[..., Postbox]):
    postbox = start()
    server = postbox.server(security="starttls", user="parley", password="right")
    with pytest.raises(MailServerUnavailable, match="STARTTLS"), server.connect():
        pass
    assert not postbox.logins


def test_a_wrong_password_concerns_all_mails_and_is_never_shown(start: Callable[..., Postbox]):
    postbox = start(asks_for_login=True)
    server = postbox.server(user="parley", password="a-secret-password")
    with pytest.raises(MailServerUnavailable) as told, server.connect():
        pass
    assert "535" in str(told.value)
    assert "a-secret-password" not in f"{told.value} {server!r}"


def _to_this_machine(connect: Callable[..., socket.socket]) -> Callable[..., socket.socket]:
    return lambda address, *arguments: connect(("127.0.0.1", address[1]), *arguments)
