"""Reports in the admin."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from insights.models import Report, ReportPreference
from teams.models import User
from tests.factories.teams import UserFactory
from tests.insights.reports import choose, make_due, make_team

pytestmark = pytest.mark.django_db

ADA, BOB = "ada@example.com", "bob@example.com"
USERS = "/admin/teams/user/"


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
