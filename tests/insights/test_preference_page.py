"""Whoever has a mail's link can unsubscribe by one click, and nothing that merely follows links can."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.test import Client

from insights.models import ReportPreference
from insights.tokens import make_token
from teams.models import Team, User
from tests.insights.postbox import Postbox
from tests.insights.reports import SENT, choose, make_due, make_team
from tests.insights.test_sending import send_due

pytestmark = pytest.mark.django_db

ADA = "ada@example.com"


@pytest.fixture
def preference() -> ReportPreference:
    team = make_team(ADA, days=1)
    return choose(User.objects.get(), team, "")


@pytest.fixture
def url(preference: ReportPreference) -> str:
    return f"/reports/unsubscribe/{make_token(preference.pk)}"


@pytest.fixture
def stranger() -> Client:
    """Without a login and without a cookie, of whom a token against forged requests would be asked."""
    return Client(enforce_csrf_checks=True)


def chosen() -> str:
    return ReportPreference.objects.values_list("frequency", flat=True).get()


def test_the_link_of_a_mail_unsubscribes_by_one_click(postbox: Postbox, stranger: Client):
    make_due(make_team(ADA))
    assert send_due() == {SENT: 1}
    message = postbox.received[0].message
    link = message["List-Unsubscribe"].strip("<>")
    assert link.startswith("http://localhost:8002/reports/unsubscribe/")
    assert link in postbox.received[0].part("plain")
    assert link in postbox.received[0].part("html")
    name, _, value = message["List-Unsubscribe-Post"].partition("=")
    answer = stranger.post(link, {name: value})  # RFC 8058, 3.2: multipart/form-data or urlencoded
    assert (answer.status_code, chosen()) == (200, "off")
    assert "You are unsubscribed" in answer.content.decode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
        ("", "application/x-www-form-urlencoded"),
        ("{}", "application/json"),
    ],
)
def test_however_a_mail_program_writes_its_click_it_is_one(stranger: Client, url: str, body: str, kind: str):
    assert stranger.post(url, body, content_type=kind).status_code == 200
    assert chosen() == "off"


@pytest.mark.parametrize("method", ["get", "head"])
def test_who_follows_links_changes_nothing(stranger: Client, url: str, method: str):
    answer = getattr(stranger, method)(url)
    assert (answer.status_code, chosen()) == (200, "")
    assert answer["X-Robots-Tag"] == "noindex"
    assert answer["Cache-Control"] == "no-store"


def test_the_page_may_show_its_own_style(stranger: Client, url: str):
    answer = stranger.get(url)
    nonce = re.search(r'<style nonce="([^"]+)"', answer.content.decode())
    assert nonce is not None
    assert f"'nonce-{nonce[1]}'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_there_is_no_other_way(stranger: Client, url: str, method: str):
    assert getattr(stranger, method)(url).status_code == 405
    assert chosen() == ""


@pytest.mark.parametrize("frequency", ["daily", "weekly", "biweekly", "monthly", "off"])
def test_the_page_takes_another_choice_too_and_shows_it(stranger: Client, url: str, frequency: str):
    assert stranger.post(url, {"frequency": frequency}).status_code == 200
    assert chosen() == frequency
    assert f'value="{frequency}" checked' in stranger.get(url).content.decode()


def test_before_any_choice_the_page_shows_the_default(stranger: Client, url: str):
    assert 'value="weekly" checked' in stranger.get(url).content.decode()


@pytest.mark.parametrize("frequency", ["hourly", "\0", "", "x" * 10_000])
def test_a_choice_that_is_none_is_refused(stranger: Client, url: str, frequency: str):
    assert stranger.post(url, {"frequency": frequency}).status_code == 400
    assert chosen() == ""


def test_a_link_is_of_one_user_and_one_team(stranger: Client, url: str, preference: ReportPreference):
    other = choose(preference.user, Team.objects.create(name="Other"), "daily")
    stranger.post(url)
    other.refresh_from_db()
    assert other.frequency == "daily"


def test_a_link_tells_nothing_of_user_or_team(url: str, preference: ReportPreference, stranger: Client):
    page = stranger.get(url).content.decode()
    for secret in (ADA, str(preference.user_id), str(preference.team_id), str(preference.pk), preference.pk.hex):
        assert secret not in url
        assert secret not in page


def test_a_name_cannot_write_into_the_page(stranger: Client, url: str):
    Team.objects.update(name="<script>alert(1)</script>")
    page = stranger.get(url).content.decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_token_that_we_did_not_make_opens_nothing(stranger: Client, preference: ReportPreference, method: str):
    good = make_token(preference.pk)
    body, _, signature = good.partition(".")
    other = make_token(uuid4())
    for bad in (
        body,
        f"{body}.",
        f"{body}.{signature[:-1]}",
        f"{other.partition('.')[0]}.{signature}",
        other,
        good.swapcase(),
        "x" * 5_000,
        ".",
        "%00",
        "%ff",
    ):
        answer = getattr(stranger, method)(f"/reports/unsubscribe/{bad}")
        assert answer.status_code == 404, bad
        assert "not valid" in answer.content.decode()
    assert chosen() == ""


def test_a_link_is_dead_with_its_user(stranger: Client, url: str):
    User.objects.all().delete()
    assert stranger.post(url).status_code == 404


def test_a_link_holds_when_the_secret_key_is_changed_and_the_old_one_kept(stranger: Client, url: str, settings: object):
    old = settings.SECRET_KEY  # type: ignore[attr-defined]
    settings.SECRET_KEY = "another-secret-key"  # type: ignore[attr-defined]
    assert stranger.get(url).status_code == 404
    settings.SECRET_KEY_FALLBACKS = [old]  # type: ignore[attr-defined]
    assert stranger.get(url).status_code == 200
