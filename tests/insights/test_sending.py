"""Reports that are due reach those who want them, once; what one of them meets is no matter of the others."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from insights import composition
from insights.errors import MailServerUnavailable
from insights.models import Report, ReportPreference
from insights.periods import Frequency
from insights.reports import claims, sending, smtp
from insights.reports.claims import MAX_ATTEMPTS, RETRY_PAUSES, claim_reports
from insights.reports.sending import Mailer
from query.models import Thread
from teams.models import Team, User
from tests.categorisation.two_connections import on_another_connection
from tests.factories.teams import ProjectFactory, UserFactory
from tests.insights.postbox import ANYBODY, Behaviour, Postbox, hangs_up, is_mute, says
from tests.insights.reports import (
    DUE,
    FAILED,
    SENT,
    SKIPPED,
    UNKNOWN,
    WEEKLY_FROM_SEVEN,
    choose,
    end_leases,
    make_due,
    make_team,
    states,
    the_report,
)

pytestmark = pytest.mark.django_db

ADA, BOB, CYD = "ada@example.com", "bob@example.com", "cyd@example.com"


def mailer(**options: object) -> Mailer:
    server = composition.mail_server()
    assert server is not None
    return Mailer(server, composition.sender(), WEEKLY_FROM_SEVEN, **options)  # type: ignore[arg-type]


def send_due() -> Counter[str]:
    return mailer().send_due()


def test_each_user_gets_their_report_over_one_connection(postbox: Postbox):
    make_due(make_team(ADA, BOB, CYD))
    assert send_due() == {SENT: 3}
    assert postbox.counts() == {ADA: 1, BOB: 1, CYD: 1}
    assert postbox.connections == 1
    assert states() == {ADA: SENT, BOB: SENT, CYD: SENT}
    assert the_report(user__email=ADA).sent_at is not None
    assert send_due() == {}
    assert postbox.counts().total() == 3


def test_the_figures_are_counted_once_for_a_team_and_a_period(postbox: Postbox, monkeypatch: pytest.MonkeyPatch):
    counted: list[object] = []
    count = sending.count_for
    monkeypatch.setattr(sending, "count_for", lambda *given: [counted.append(given), count(*given)][1])
    for team in (make_team(ADA, BOB, CYD), make_team("dan@example.com", "eve@example.com")):
        make_due(team)
    assert send_due() == {SENT: 5}
    assert len(counted) == 2


@pytest.mark.parametrize("stage", ["RCPT", "DATA", "text"])
def test_who_is_refused_for_good_holds_up_nobody(postbox: Postbox, stage: str):
    make_due(make_team(ADA, BOB, CYD))
    postbox.behaviours[stage, BOB] = says("550 5.1.1 no such user")
    assert send_due() == {SENT: 2, FAILED: 1}
    assert states() == {ADA: SENT, BOB: FAILED, CYD: SENT}
    assert "550 5.1.1 no such user" in the_report(user__email=BOB).error
    end_leases()
    assert send_due() == {}


@pytest.mark.parametrize("stage", ["RCPT", "DATA", "text"])
def test_who_is_refused_for_now_is_tried_again_after_pauses_that_grow_and_given_up(postbox: Postbox, stage: str):
    make_due(make_team(ADA, BOB))
    postbox.behaviours[stage, BOB] = says("450 4.2.0 greylisted")
    assert send_due() == {SENT: 1, DUE: 1}
    for pause in RETRY_PAUSES:
        report = the_report(user__email=BOB)
        assert (
            timedelta(0) <= report.act_after - timezone.now() + timedelta(seconds=30) - pause <= timedelta(seconds=30)
        )
        assert "greylisted" in report.error
        assert send_due() == {}
        end_leases()
        outcomes = send_due()
    assert outcomes == {FAILED: 1}
    assert the_report(user__email=BOB).attempts == MAX_ATTEMPTS
    assert postbox.counts() == {ADA: 1}


def test_who_was_greylisted_gets_it_then(postbox: Postbox):
    make_due(make_team(ADA))
    postbox.behaviours["RCPT", ADA] = says("451 greylisted")
    send_due()
    postbox.behaviours.clear()
    end_leases()
    assert send_due() == {SENT: 1}
    assert the_report().error == ""


@pytest.mark.parametrize("behaviour", [says("421 closing"), says("550 who are you"), hangs_up])
def test_a_server_that_takes_none_ends_the_stretch_and_costs_no_attempt(postbox: Postbox, behaviour: Behaviour):
    make_due(make_team(ADA, BOB, CYD))
    postbox.behaviours["MAIL", ANYBODY] = behaviour
    for _ in range(MAX_ATTEMPTS + 2):
        with pytest.raises(MailServerUnavailable):
            send_due()
    assert states() == {ADA: DUE, BOB: DUE, CYD: DUE}
    assert set(Report.objects.values_list("attempts", flat=True)) == {0}
    postbox.behaviours.clear()
    assert send_due() == {SENT: 3}


@pytest.mark.parametrize(
    ("stage", "behaviour"),
    [
        ("RCPT", hangs_up),
        ("RCPT", is_mute),
        ("RCPT", says("421 not with that one")),
        ("DATA", hangs_up),
        ("text", says("421 not that text")),
    ],
)
def test_one_over_whom_the_server_hangs_up_holds_up_nobody(
    postbox: Postbox, stage: str, behaviour: Behaviour, settings: Any
):
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"email_timeout_s": 0.3})
    make_due(make_team(ADA, BOB, CYD))
    postbox.behaviours[stage, BOB] = behaviour
    assert send_due() == {SENT: 2, DUE: 1}
    assert postbox.counts() == {ADA: 1, CYD: 1}
    assert the_report(user__email=BOB).attempts == 1
    assert the_report(user__email=BOB).act_after > timezone.now()


def test_a_server_that_hangs_up_over_each_recipient_does_not_cost_them_all_an_attempt(postbox: Postbox):
    make_due(make_team(*(f"{number}@example.com" for number in range(8))))
    postbox.behaviours["RCPT", ANYBODY] = hangs_up
    with pytest.raises(MailServerUnavailable, match="each mail"):
        send_due()
    assert Counter(Report.objects.values_list("attempts", flat=True)) == {1: 3, 0: 5}
    assert set(states().values()) == {DUE}


def test_however_many_the_server_hangs_up_over_the_others_get_theirs(postbox: Postbox):
    reports = sorted(make_due(make_team(*(f"{number}@example.com" for number in range(7)))), key=lambda each: each.pk)
    *bad, ada, bob = [each.user.email for each in reports]  # as they are claimed
    postbox.behaviours |= {("RCPT", each): hangs_up for each in bad}
    for _ in range(3):
        with suppress(MailServerUnavailable):
            send_due()
        end_leases()
    assert postbox.counts() == {ada: 1, bob: 1}


def test_figures_that_the_database_fails_to_count_hold_up_nobody_and_are_not_counted_for_each(
    postbox: Postbox, monkeypatch: pytest.MonkeyPatch
):
    big, small = make_team(ADA, BOB), make_team(CYD)
    make_due(big)
    make_due(small)
    asked: list[str] = []
    count = sending.count_for

    def fail_for_the_big_one(team: Team, *rest: object) -> object:
        asked.append(team.name)
        if team == big:
            raise OperationalError("canceling statement due to statement timeout")
        return count(team, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sending, "count_for", fail_for_the_big_one)
    assert send_due() == {DUE: 2, SENT: 1}
    assert (asked.count(big.name), postbox.counts()) == (1, {CYD: 1})
    report = the_report(user__email=ADA)
    assert (report.attempts, report.error) == (1, "It cannot be made: OperationalError.")


def test_a_server_that_is_not_there_costs_no_attempt(postbox: Postbox, settings: object):
    make_due(make_team(ADA))
    there = settings.ENVIRONMENT  # type: ignore[attr-defined]
    settings.ENVIRONMENT = there.model_copy(update={"email_port": 1})  # type: ignore[attr-defined]
    with pytest.raises(MailServerUnavailable, match="cannot be used"):
        send_due()
    assert (the_report().state, the_report().attempts) == (DUE, 0)
    assert "cannot be used" in the_report().error


@pytest.mark.parametrize("behaviour", [hangs_up, is_mute])
@pytest.mark.parametrize(("stage", "mails"), [("text", 0), ("text, taken", 1)])
def test_one_whose_fate_is_unknown_is_never_sent_again_by_itself(
    postbox: Postbox, behaviour: Behaviour, stage: str, mails: int, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    monkeypatch.setattr(smtp, "ANSWER_TIMEOUT_S", 1.0)
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"email_timeout_s": 1.0})
    make_due(make_team(ADA, BOB, CYD))
    postbox.behaviours[stage, BOB] = behaviour
    assert send_due() == {SENT: 2, UNKNOWN: 1}
    postbox.behaviours.clear()
    end_leases()
    assert send_due() == {}
    assert postbox.counts() == Counter({ADA: 1, CYD: 1, BOB: mails})
    assert "connection broke" in the_report(user__email=BOB).error


def test_a_server_that_hangs_up_in_each_mail_does_not_get_them_all(postbox: Postbox):
    make_due(make_team(*(f"{number}@example.com" for number in range(8))))
    postbox.behaviours["text", ANYBODY] = hangs_up
    with pytest.raises(MailServerUnavailable, match="each mail"):
        send_due()
    assert Counter(states().values()) == {UNKNOWN: 3, DUE: 5}
    postbox.behaviours.clear()
    assert send_due() == {SENT: 5}


def leaves_the_team(user: User, team: Team) -> None:
    user.teams.remove(team)


def is_deactivated(user: User, team: Team) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def unsubscribes(user: User, team: Team) -> None:
    choose(user, team, "off")


def wants_it_less_often(user: User, team: Team) -> None:
    choose(user, team, "monthly")


@pytest.mark.parametrize("act", [leaves_the_team, is_deactivated, unsubscribes, wants_it_less_often])
@pytest.mark.parametrize("is_late", [False, True], ids=["before", "while it is prepared"])
def test_who_does_not_want_it_any_more_gets_none(
    postbox: Postbox, monkeypatch: pytest.MonkeyPatch, act: object, is_late: bool
):
    team = make_team(ADA, BOB)
    make_due(team)
    bob = User.objects.get(email=BOB)
    if is_late:
        prepare = sending.write_mail

        def meanwhile(letter: sending.Letter, *rest: object) -> sending.Mail:
            if letter.recipient == BOB:
                act(bob, team)  # type: ignore[operator]
            return prepare(letter, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(sending, "write_mail", meanwhile)
    else:
        act(bob, team)  # type: ignore[operator]
    assert send_due() == {SENT: 1, SKIPPED: 1}
    assert postbox.counts() == {ADA: 1}


def test_a_team_that_is_deleted_meanwhile_gets_none(postbox: Postbox):
    team = make_team(ADA)
    make_due(team)
    Team.objects.filter(pk=team.pk).update(deleted_at=timezone.now())
    assert send_due() == {SKIPPED: 1}
    assert not postbox.received


def test_a_report_whose_row_was_lost_is_known_by_the_same_id(postbox: Postbox):
    team = make_team(ADA)
    make_due(team)
    send_due()
    Report.objects.all().delete()  # as an older backup that is restored would
    make_due(team)
    send_due()
    first, second = (each.message["Message-ID"] for each in postbox.received)
    assert first == second


def test_who_chose_the_same_as_the_default_gets_it(postbox: Postbox):
    team = make_team(ADA, BOB)
    choose(User.objects.get(email=ADA), team, "weekly")
    choose(User.objects.get(email=BOB), team, "")
    make_due(team)
    assert send_due() == {SENT: 2}


def test_silence_that_lasts_is_not_told_of_but_the_first_one_is(postbox: Postbox):
    lasting = ProjectFactory().team
    UserFactory(email=ADA).teams.add(lasting)
    first = make_team(BOB)
    Thread.objects.filter(created_at__gte=timezone.now() - timedelta(days=timezone.now().weekday() + 7.5)).delete()
    empty = Team.objects.create(name="Without a project")
    UserFactory(email=CYD).teams.add(empty)
    for team in (lasting, first, empty):
        make_due(team)
    assert Thread.objects.exists()
    assert send_due() == {SENT: 1, SKIPPED: 2}
    assert postbox.counts() == {BOB: 1}


def test_a_report_that_cannot_be_made_is_told_and_holds_up_nobody(postbox: Postbox, monkeypatch: pytest.MonkeyPatch):
    make_due(make_team(ADA, BOB))
    write = sending.write_letter

    def fail_for_ada(report: Report, *rest: object) -> sending.Letter:
        if report.user.email == ADA:
            raise ZeroDivisionError
        return write(report, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sending, "write_letter", fail_for_ada)
    assert send_due() == {DUE: 1, SENT: 1}
    assert the_report(user__email=ADA).error == "It cannot be made: ZeroDivisionError."


def test_an_address_that_is_none_fails_and_holds_up_nobody(postbox: Postbox):
    team = make_team(ADA, BOB, CYD)
    User.objects.filter(email=ADA).update(email="a@b>\r\nRCPT TO:<mallory@example.com")
    User.objects.filter(email=BOB).update(email="bob@bücher.example")
    make_due(team)
    assert send_due() == {FAILED: 1, SENT: 2}
    assert postbox.counts() == {"bob@xn--bcher-kva.example": 1, CYD: 1}


def test_one_that_ends_its_senders_is_given_up(postbox: Postbox):
    make_due(make_team(ADA, BOB))
    Report.objects.filter(user__email=ADA).update(attempts=MAX_ATTEMPTS)
    assert send_due() == {FAILED: 1, SENT: 1}
    assert "without a word" in the_report(user__email=ADA).error


def test_what_comes_too_late_is_not_sent(postbox: Postbox):
    make_due(make_team(ADA))
    Report.objects.update(send_until=timezone.now())
    assert send_due() == {}


def test_a_stretch_ends_in_time_and_lets_go_of_what_it_claimed(postbox: Postbox):
    make_due(make_team(*(f"{number}@example.com" for number in range(15))))
    sent: list[str] = []
    stopped = mailer(should_stop=lambda: len(sent) >= 4, tell=lambda report, outcome: sent.append(outcome))
    assert stopped.send_due() == {SENT: 4}
    assert Counter(states().values()) == {SENT: 4, DUE: 11}
    assert set(Report.objects.filter(state=DUE).values_list("attempts", flat=True)) == {0}
    assert mailer().send_due(budget_s=0) == {}
    assert send_due() == {SENT: 11}


def test_two_senders_never_have_the_same_report(transactional_db: None, postbox: Postbox):
    make_due(make_team(*(f"{number}@example.com" for number in range(25))))
    sent_elsewhere: list[Counter[str]] = []

    def meanwhile(report: Report, outcome: str) -> None:
        if not sent_elsewhere:
            sent_elsewhere.append(on_another_connection(send_due))

    here = mailer(tell=meanwhile).send_due()
    assert here + sent_elsewhere[0] == {SENT: 25}
    assert here[SENT] >= 10
    assert set(postbox.counts().values()) == {1}


def test_who_comes_back_after_the_lease_hands_nothing_over(postbox: Postbox, monkeypatch: pytest.MonkeyPatch):
    """A machine that slept between its claim and the mail server's word."""
    make_due(make_team(ADA))
    (slept,) = claim_reports(1)
    end_leases()
    assert send_due() == {SENT: 1}
    claimed = iter([[slept], []])
    monkeypatch.setattr(sending, "claim_reports", lambda limit: next(claimed))
    assert send_due() == {"lost": 1}
    assert postbox.counts() == {ADA: 1}


def test_an_answer_that_comes_after_the_lease_is_noted_still(postbox: Postbox):
    make_due(make_team(ADA))
    (claim,) = claim_reports(1)
    assert claim.begin_handing_over("weekly")
    Report.objects.update(state=UNKNOWN)  # as `note_stale` does
    claim.note_sent()
    assert the_report().state == SENT


def test_what_an_operator_did_meanwhile_holds(postbox: Postbox):
    make_due(make_team(ADA))
    (claim,) = claim_reports(1)
    assert claim.begin_handing_over("weekly")
    Report.objects.update(state=DUE, act_after=timezone.now())
    with pytest.raises(claims.ClaimLost):
        claim.note_sent()
    assert the_report().state == DUE


def test_a_mails_links_are_bound_to_user_and_team(postbox: Postbox):
    first, second = make_team(ADA), make_team(BOB)
    User.objects.get(email=ADA).teams.add(second)
    make_due(first)
    make_due(second)
    assert send_due() == {SENT: 3}
    links = {each.message["List-Unsubscribe"] for each in postbox.received}
    assert len(links) == 3
    assert ReportPreference.objects.count() == 3
    assert {each.frequency for each in ReportPreference.objects.all()} == {""}


@pytest.mark.parametrize("frequency", [each for each in Frequency if each is not Frequency.OFF])
def test_every_frequency_is_written(postbox: Postbox, frequency: Frequency):
    team = make_team(ADA, days=40)
    choose(User.objects.get(email=ADA), team, frequency.value)
    make_due(team, frequency)
    assert send_due() == {SENT: 1}
    assert "report" in postbox.received[0].part("plain")
