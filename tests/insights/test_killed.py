"""A sender is killed at each step of a report: nobody ever has two mails for a period, and what is unknown is shown."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from insights.models import Report
from insights.reports import sending
from insights.reports.claims import Claim
from insights.reports.smtp import Connection
from tests.factories.teams import UserFactory
from tests.insights.postbox import Postbox
from tests.insights.reports import SENT, UNKNOWN, end_leases, make_due, make_team, states

pytestmark = pytest.mark.django_db(transaction=True)

ADA, BOB = "ada@example.com", "bob@example.com"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(owner: Any, name: str) -> Callable[[], None]:
    """Dies when that has been done."""
    do = getattr(owner, name)

    def do_and_die(*arguments: Any, **options: Any) -> Any:
        do(*arguments, **options)
        die()

    return lambda: setattr(owner, name, do_and_die)


def in_the_middle_of_the_text() -> None:
    def send_half(self: Connection, text: bytes) -> None:
        self._smtp.send(text[: len(text) // 2])
        die()

    Connection.hand_over = send_half  # type: ignore[method-assign]


def before_the_answer() -> None:
    def do_not_listen(self: Connection, seconds: float) -> None:
        die()

    Connection._wait_at_most = do_not_listen  # type: ignore[method-assign]


# what is prepared to die in the child, what becomes of the report, and how many mails of it were taken
STEPS: dict[str, tuple[Callable[[], None], str, int]] = {
    "after it was claimed": (after(sending, "claim_reports"), SENT, 1),
    "after it was written": (after(sending, "write_mail"), SENT, 1),
    "when the server bids it come": (after(Connection, "offer"), SENT, 1),
    "when it is noted to be handed over": (after(Claim, "begin_handing_over"), UNKNOWN, 0),
    "in the middle of its text": (in_the_middle_of_the_text, UNKNOWN, 0),
    "before the server's answer": (before_the_answer, UNKNOWN, 1),
    "after the server's answer": (after(Connection, "hand_over"), UNKNOWN, 1),
    "after it was noted": (after(Claim, "note_sent"), SENT, 1),
}


def run_in_a_process_that_dies(prepare: Callable[[], None]) -> None:
    """`send_reports`, in a child of its own connections, which must die by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            connection.connection = connection._pool = None  # type: ignore[attr-defined]  # they are the parent's
            prepare()
            call_command("send_reports")
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def run() -> str:
    """Sends what is due, in good order; what the command complains of."""
    try:
        call_command("send_reports")
    except CommandError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_and_run_again_nobody_has_two_mails(postbox: Postbox, step: str, capsys: Any):
    prepare, state, mails = STEPS[step]
    team = make_team(ADA, BOB)
    first = min(make_due(team), key=lambda report: report.pk)  # in the order in which they are claimed
    ada, bob = first.user.email, ({ADA, BOB} - {first.user.email}).pop()

    run_in_a_process_that_dies(prepare)
    run()  # while the dead one's lease holds
    assert max(postbox.counts().values(), default=0) <= 1
    end_leases()
    run()
    run()

    assert states() == {ada: state, bob: SENT}
    assert postbox.counts() == Counter({ada: mails, bob: 1})
    page = reports_page()
    assert ("1 report may have been sent, or not" in page) == (state == UNKNOWN)
    assert ('href="?state__exact=unknown">of unknown fate</a>' in page) == (state == UNKNOWN)
    if state == UNKNOWN:
        an_operator_sends_it_again(first, postbox, ada, mails)


def an_operator_sends_it_again(report: Report, postbox: Postbox, email: str, mails: int) -> None:
    answer = operator().post(
        "/admin/insights/report/",
        {"action": "send_again", "_selected_action": [str(report.pk)]},
        follow=True,
    )
    assert "1 due again" in answer.content.decode()
    assert run() == ""
    assert postbox.counts()[email] == mails + 1
    report.refresh_from_db()
    assert (report.state, report.sent_again_by) == (SENT, "operator@example.com")
    ids = [each.message["Message-ID"] for each in postbox.received if each.recipient == email]
    assert len(set(ids)) == 1, "who has both can tell that they are one"


def operator() -> Client:
    client = Client()
    client.force_login(UserFactory(email="operator@example.com", is_staff=True, is_superuser=True))
    return client


def reports_page() -> str:
    client = Client()
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client.get("/admin/insights/report/").content.decode()
