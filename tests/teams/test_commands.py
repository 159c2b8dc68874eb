"""The commands that make projects and keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from teams import keys, services
from teams.management.commands.create_api_key import read_expiry
from teams.models import Project, ProjectAPIKey, Team

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().strip()


@pytest.mark.django_db
def test_create_project_makes_the_team_once_and_prints_the_id():
    first = run("create_project", "Docs bot", "--team", "Acme")
    second = run("create_project", "Sales bot", "--team", "Acme")
    assert Team.objects.get().projects.count() == 2
    assert {str(project.pk) for project in Project.objects.all()} == {first, second}


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "  ", "x" * 201])
def test_create_project_refuses_a_name_that_is_none(name: str):
    with pytest.raises(CommandError):
        run("create_project", name, "--team", "Acme")


def test_create_api_key_prints_a_key_that_works_until_it_expires(project: Project):
    plain = run("create_api_key", "--project", str(project.pk), "--scopes", "chat, read", "--expires", "90d")
    key = ProjectAPIKey.objects.get(key_hash=keys.hash_key(plain))
    assert key.scopes == ["chat", "read"]
    assert key.expires_at is not None
    assert key.is_usable(timezone.now())
    assert not key.is_usable(timezone.now() + timedelta(days=91))


@pytest.mark.parametrize("scopes", ["", ",", "chat,everything"])
def test_a_key_without_a_scope_or_with_an_unknown_one_is_refused(project: Project, scopes: str):
    with pytest.raises(CommandError, match="scope"):
        run("create_api_key", "--project", str(project.pk), "--scopes", scopes)
    assert not ProjectAPIKey.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("project_id", ["nonsense", pytest.param(str(uuid4()), id="an unknown id")])
def test_a_key_for_no_project_is_refused(project_id: str):
    with pytest.raises(CommandError, match="no project"):
        run("create_api_key", "--project", project_id, "--scopes", "chat")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10d", NOW + timedelta(days=10)),
        ("2030-02-03", datetime(2030, 2, 3, tzinfo=UTC)),
        ("2030-02-03T04:05Z", datetime(2030, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_stretch_a_day_or_a_time(text: str, expected: datetime):
    assert read_expiry(text, NOW) == expected


@pytest.mark.parametrize("text", ["tomorrow", "2030-02-31", "2029-12-31", "0d", "-3d"])
def test_an_expiry_that_is_not_understood_or_past_is_refused(text: str):
    with pytest.raises(CommandError, match="--expires"):
        read_expiry(text, NOW)


@pytest.mark.django_db(transaction=True)
def test_projects_made_at_once_for_a_new_team_share_it():
    def make(number: int) -> None:
        try:
            services.create_project(team_name="Acme", name=f"Bot {number}")
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as lanes:
        list(lanes.map(make, range(6)))
    assert Team.objects.get().projects.count() == 6
