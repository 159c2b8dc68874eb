"""Reports and choices of reports in the admin: neither is deleted by anybody, and both go with their user."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from insights.models import Report, ReportPreference
from teams.models import User
from tests.factories.teams import UserFactory
from tests.insights.reports import choose, make_due, make_team

pytestmark = pytest.mark.django_db

ADA, BOB = "ada@example.com", "bob@example.com"
USERS, PREFERENCES = "/admin/teams/user/", "/admin/insights/reportpreference/"


@pytest.fixture
def ada() -> User:
    """Had a report, and wants no other; so has BOB."""
    team = make_team(ADA, BOB, days=1)
    make_due(team)
    for user in team.users.all():
        choose(user, team, "off")
    return User.objects.get(email=ADA)


@pytest.fixture
def remover() -> Client:
    """May look at users and delete them, and has to do with nothing else."""
    user = UserFactory(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "delete_user"]))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("is_of_the_list", [False, True])
@pytest.mark.parametrize("who", ["remover", "admin_client"])
def test_a_user_who_had_reports_is_deleted_with_them(
    request: pytest.FixtureRequest, ada: User, who: str, is_of_the_list: bool
):
    client: Client = request.getfixturevalue(who)
    url, form = f"{USERS}{ada.pk}/delete/", {"post": "yes"}
    if is_of_the_list:
        url, form = USERS, {"action": "delete_selected", "_selected_action": str(ada.pk), "post": "yes"}
    else:
        assert "the record of those that were sent to them" in client.get(url).content.decode()
    assert client.post(url, form).status_code == 302
    assert not User.objects.filter(email=ADA).exists()
    assert Report.objects.get().user.email == BOB
    assert ReportPreference.objects.get().user.email == BOB


def test_a_choice_is_changed_and_never_deleted(admin_client: Client, ada: User):
    """Without its row whoever unsubscribed would be sent reports again, and the links in their mails be invalid."""
    choice = ReportPreference.objects.get(user=ada)
    assert admin_client.post(f"{PREFERENCES}{choice.pk}/delete/", {"post": "yes"}).status_code == 403
    form: dict[str, Any] = {"action": "delete_selected", "_selected_action": str(choice.pk), "post": "yes"}
    admin_client.post(PREFERENCES, form)
    assert ReportPreference.objects.filter(pk=choice.pk).exists()
    assert admin_client.post(f"{PREFERENCES}{choice.pk}/change/", {"frequency": ""}).status_code == 302
    choice.refresh_from_db()
    assert choice.frequency == ""
