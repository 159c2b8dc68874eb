"""`manage.py send_reports` sends what is due and says what became of it; or writes what it would look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from insights import tasks
from insights.models import Report, ReportPreference
from teams.models import Project, Team, User
from tests.factories.teams import UserFactory
from tests.insights.past import make_past
from tests.insights.postbox import ANYBODY, Postbox, hangs_up, says
from tests.insights.reports import DUE, SENT, choose, make_due, make_team, states

pytestmark = pytest.mark.django_db

ADA, BOB = "ada@example.com", "bob@example.com"
THURSDAY = "2026-04-02T08:00:00+02:00"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command, and what it says. Its complaint is what it says, too."""

    def run(*arguments: str) -> str:
        try:
            call_command("send_reports", *arguments)
        except CommandError as error:
            told = capsys.readouterr()
            return f"{told.out}{told.err}CommandError: {error}"
        told = capsys.readouterr()
        return f"{told.out}{told.err}"

    return run


def test_it_tells_what_became_of_all(postbox: Postbox, run: Callable[..., str]):
    make_due(make_team(ADA, BOB, "cyd@example.com", "dan@example.com"))
    postbox.behaviours |= {
        ("RCPT", BOB): says("550 no such user"),
        ("RCPT", "cyd@example.com"): says("450 later"),
        ("text", "dan@example.com"): hangs_up,
    }
    told = run()
    assert "1 sent; 1 refused for now, and tried again later; 1 failed; 1 of unknown fate." in told
    assert "CommandError: Not all were sent." in told
    assert "No report is due." in run()


def test_a_server_that_is_down_is_named_and_nothing_is_lost(postbox: Postbox, run: Callable[..., str]):
    make_due(make_team(ADA))
    postbox.behaviours["MAIL", ANYBODY] = says("421 down")
    assert "421 down" in run()
    assert states() == {ADA: DUE}
    postbox.behaviours.clear()
    assert "1 sent." in run()


def test_without_a_mail_server_it_says_so(run: Callable[..., str]):
    make_due(make_team(ADA))
    assert run() == "CommandError: No reports are sent: EMAIL_HOST is not set (docs/guides/reports.md)."
    assert states() == {ADA: DUE}


def test_without_a_mail_server_the_task_does_nothing_and_says_so_once(caplog: pytest.LogCaptureFixture):
    make_team(ADA)
    tasks._say_that_reports_are_off.cache_clear()
    caplog.set_level("INFO")
    for _ in range(3):
        tasks.send_reports.run()
    assert caplog.text.count("EMAIL_HOST is not set") == 1
    assert not Report.objects.exists()


def test_the_task_sends_what_is_due(postbox: Postbox, monkeypatch: pytest.MonkeyPatch):
    make_due(make_team(ADA, BOB))
    nudged: list[bool] = []
    monkeypatch.setattr(tasks.send_reports, "nudge", lambda: nudged.append(True))
    monkeypatch.setattr(tasks, "BUDGET_S", 0.0)
    tasks.send_reports.run()
    assert (postbox.counts(), nudged) == ({}, [True]), "a successor goes on"
    monkeypatch.setattr(tasks, "BUDGET_S", 30.0)
    tasks.send_reports.run()
    assert (postbox.counts(), nudged) == ({ADA: 1, BOB: 1}, [True])
    postbox.behaviours["MAIL", ANYBODY] = says("421 down")
    make_due(make_team("cyd@example.com"))
    tasks.send_reports.run()
    assert nudged == [True], "a server that is down is not asked again at once"


# -- previews ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def past_team() -> User:
    past = make_past("Europe/Zurich", datetime(2026, 2, 20, tzinfo=UTC), threads=60)
    user: User = UserFactory(email=ADA)
    user.teams.add(past.team)
    return user


def test_a_preview_is_the_page_the_text_and_the_whole_mail(past_team: User, run: Callable[..., str], tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    assert f"1 reports are in {folder}." in run("--preview", str(folder), "--now", THURSDAY)
    html, text, mail = (next(folder.glob(f"*.{kind}")) for kind in ("html", "txt", "eml"))
    assert "23 to 29 March 2026" in html.read_text()
    assert "23 to 29 March 2026" in text.read_text()
    message = message_from_bytes(mail.read_bytes(), policy=default)
    assert message["To"] == ADA
    assert html.read_text().splitlines() == message.get_body(("html",)).get_content().splitlines()


def test_a_preview_changes_nothing_and_its_link_unsubscribes_nobody(
    postbox: Postbox, past_team: User, run: Callable[..., str], tmp_path: Path
):
    run("--preview", str(tmp_path), "--now", THURSDAY)
    assert not Report.objects.exists()
    assert not ReportPreference.objects.exists()
    assert not postbox.received
    link = re.search(r"http://\S+", next(tmp_path.glob("*.txt")).read_text())
    assert link is not None
    assert Client().post(link[0]).status_code == 404


@pytest.mark.parametrize(
    ("frequency", "period"),
    [
        ("daily", "Wednesday 1 April 2026"),
        ("weekly", "23 to 29 March 2026"),
        ("biweekly", "9 to 22 March 2026"),
        ("monthly", "March 2026"),
    ],
)
def test_a_preview_of_any_frequency(
    past_team: User, run: Callable[..., str], tmp_path: Path, frequency: str, period: str
):
    choose(past_team, past_team.teams.get(), "off")
    assert f"{ADA} wants no reports" in run("--preview", str(tmp_path), "--now", THURSDAY)
    run("--preview", str(tmp_path), "--now", THURSDAY, "--frequency", frequency)
    assert period in next(tmp_path.glob("*.txt")).read_text()


def test_a_preview_of_some(past_team: User, run: Callable[..., str], tmp_path: Path):
    other = make_team(BOB, "cyd@example.com", days=1)

    def shown(*arguments: str) -> int:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        run("--preview", str(folder), *arguments)
        return len(list(folder.glob("*.eml")))

    assert shown() == 3
    assert shown("--team", other.name) == shown("--team", str(other.pk)) == 2
    assert shown("--user", "ADA@example.com") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--user", ADA], "say what --preview shows"),
        (["--preview", "{folder}", "--user", "nobody@example.com"], "nobody@example.com"),
        (["--preview", "{folder}", "--team", "Nowhere"], "There is no team Nowhere."),
        (["--preview", "{folder}", "--user", BOB, "--team", "Elsewhere"], "no such user in such a team"),
        (["--preview", "{folder}", "--now", "yesterday"], "must be a time"),
        (["--preview", "{folder}", "--now", "0001-01-01"], "must lie between the years"),
        (["--preview", "{folder}", "--now", "9999-12-31T23:59"], "must lie between the years"),
        (["--preview", "{folder}", "--frequency", "off"], "invalid choice"),
        (["--preview", "{file}/folder"], "cannot be written"),
    ],
)
def test_what_cannot_be_shown_is_told(run: Callable[..., str], tmp_path: Path, arguments: list[str], told: str):
    make_team(ADA, BOB, days=1)
    Project.objects.get().team.__class__.objects.create(name="Elsewhere")
    file = tmp_path / "file"
    file.touch()
    said = run(*(each.format(folder=tmp_path / "folder", file=file) for each in arguments))
    assert "CommandError" in said
    assert told in said


def test_an_address_that_is_none_is_told_and_the_rest_is_written(run: Callable[..., str], tmp_path: Path):
    make_team(ADA, days=1)
    User.objects.update(email="nonsense")
    assert "none that mails can be sent to" in run("--preview", str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_team_of_an_unknown_time_zone_is_told_and_the_others_are_written(run: Callable[..., str], tmp_path: Path):
    make_team(ADA, days=1)
    astray = make_team(BOB, days=1)
    Team.objects.filter(pk=astray.pk).update(time_zone="Mars/Olympus_Mons")
    told = run("--preview", str(tmp_path))
    assert f"{BOB} gets no reports on {astray}: there is no time zone Mars/Olympus_Mons." in told
    assert f"1 reports are in {tmp_path}." in told
    assert [path for path in tmp_path.glob("*.eml") if "ada" in path.name]


def test_states_have_names(postbox: Postbox):
    make_due(make_team(ADA))
    call_command("send_reports")
    assert states() == {ADA: SENT}


def test_what_is_unknown_or_late_is_told(postbox: Postbox, run: Callable[..., str], settings: Any):
    stale, late = make_due(make_team(ADA, BOB))
    Report.objects.filter(pk=stale.pk).update(state="handing_over")
    Report.objects.filter(pk=late.pk).update(send_until=late.created_at)
    told = run()
    assert "1 reports may have been sent, or not" in told
    assert "1 reports could not be sent in time" in told
