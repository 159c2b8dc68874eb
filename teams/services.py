"""Every write to teams, projects and keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from teams import keys
from teams.errors import NoScope, UnknownScope
from teams.models import Project, ProjectAPIKey, Scope, Team

USE_IS_NOTED_EVERY = timedelta(minutes=1)


@transaction.atomic
def create_project(*, team_name: str, name: str) -> Project:
    """A new project in the team of that name, which is made when there is none."""
    with connection.cursor() as cursor:  # two that make the same team at once: one waits for the other
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"team {team_name}"])
    teams = Team.objects.select_for_update(no_key=True).order_by("created_at")  # whoever deletes it waits, or is seen
    team = teams.filter(name=team_name).first() or Team.objects.create(name=team_name)
    return Project.objects.create(team=team, name=name)


@transaction.atomic
def create_api_key(
    *,
    project: Project,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
    calls_per_minute: int | None = None,
) -> tuple[ProjectAPIKey, str]:
    """A new key and its plain text, which is not kept anywhere. Raises NoScope or UnknownScope."""
    wanted = check_scopes(scopes)
    plain = keys.generate_key()
    row = ProjectAPIKey.objects.create(
        project=project,
        name=name,
        shown_part=keys.shown_part(plain),
        key_hash=keys.hash_key(plain),
        scopes=wanted,
        expires_at=expires_at,
        calls_per_minute=calls_per_minute,
    )
    return row, plain


def check_scopes(scopes: Iterable[str]) -> list[str]:
    """The scopes without repetition, in their usual order. Raises NoScope or UnknownScope."""
    wanted = set(scopes)
    if unknown := wanted - set(Scope.values):
        raise UnknownScope(f"There is no scope {', '.join(sorted(unknown))}; there are {', '.join(Scope.values)}.")
    if not wanted:
        raise NoScope(f"A key needs at least one scope of {', '.join(Scope.values)}.")
    return [scope for scope in Scope.values if scope in wanted]


@transaction.atomic
def revoke_api_key(key_id: UUID) -> bool:
    """Whether this call revoked it; a key that was revoked before keeps its time."""
    key = ProjectAPIKey.objects.select_for_update().filter(pk=key_id, revoked_at=None).first()
    if key is None:
        return False
    key.revoked_at = timezone.now()
    key.save(update_fields=["revoked_at"])
    return True


def note_use(key: ProjectAPIKey, now: datetime) -> None:
    """Remember that the key was used, at most once a minute and key."""
    stale = now - USE_IS_NOTED_EVERY
    if key.last_used_at is not None and key.last_used_at > stale:
        return
    is_stale = Q(last_used_at=None) | Q(last_used_at__lte=stale)
    ProjectAPIKey.objects.filter(is_stale, pk=key.pk).update(last_used_at=now)
