"""Deleting projects and teams: at once for whoever looks, and later in their rows.

The request marks the row. From that moment no key of the project opens anything and no read shows it. Then each room
empties what is its own, batch by batch, in the order in which the rooms stand on each other; at last the project's row
goes, with the little that still refers to it. A marked row is the record of that work: whoever is killed half-way, or
finds a neighbour down, leaves it to the next turn. A team goes when the last of its projects is gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol
from uuid import UUID

from auditlog.models import LogEntry
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, ProtectedError, RestrictedError
from django.db.models.functions import Now

from schema.locks import session_lock
from teams import audit
from teams.errors import ProjectNotFound, TeamNotFound
from teams.models import Project, Team
from teams.signals import project_deleted

logger = logging.getLogger(__name__)


class Emptier(Protocol):
    """How a room lets go of what is a deleted project's own."""

    def __call__(self, project_id: UUID, is_over: Callable[[], bool]) -> bool:
        """Whether nothing is left that is many rows or a neighbour's. `is_over` is asked between transactions.

        It may be called again at any time, by several at once, and after having been killed anywhere.
        """
        ...


_emptiers: list[Emptier] = []


def register(emptier: Emptier) -> None:
    """Have a room's part of deleted projects emptied, before the parts of the rooms that registered later."""
    if emptier not in _emptiers:
        _emptiers.append(emptier)


def delete_project(project_id: UUID, *, asked_by: str) -> None:
    """Delete a project: from now on nobody sees it, and its keys open nothing. Raises ProjectNotFound."""
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).filter(pk=project_id).first()
        if project is None:
            raise ProjectNotFound(f"There is no project {project_id}.")
        _mark(project, asked_by)


def delete_team(team_id: UUID, *, asked_by: str) -> None:
    """Delete a team with all of its projects. Its users stay, and are no longer in it. Raises TeamNotFound."""
    with transaction.atomic():
        team = Team.objects.select_for_update(no_key=True).filter(pk=team_id).first()
        if team is None:
            raise TeamNotFound(f"There is no team {team_id}.")
        for project in Project.objects.select_for_update(no_key=True).filter(team=team).order_by("pk"):
            _mark(project, asked_by)
        team.users.clear()
        Team.objects.filter(pk=team_id).update(deleted_at=Now())
        audit.record(team, LogEntry.Action.DELETE, {"done": [None, f"deleted by {asked_by}"]})
        transaction.on_commit(_tell_a_worker, robust=True)


def empty_deleted(budget_s: float) -> bool:
    """Bring deleted projects and teams nearer to their end, for so long; whether none is left."""
    deadline = time.monotonic() + budget_s

    def is_over() -> bool:
        return time.monotonic() > deadline

    _mark_late_projects()
    are_gone = True
    for project_id in _deleted_projects():
        if is_over():
            return False
        with session_lock(f"empty project {project_id}") as is_ours:
            are_gone &= is_ours and _is_gone(project_id, is_over)
    _delete_empty_teams()
    return are_gone


def _mark(project: Project, asked_by: str) -> None:
    Project.objects.filter(pk=project.pk).update(deleted_at=Now())
    audit.record(project, LogEntry.Action.DELETE, {"done": [None, f"deleted by {asked_by}"]})
    project_deleted.send(sender=Project, project=project, asked_by=asked_by)
    transaction.on_commit(_tell_a_worker, robust=True)


def _tell_a_worker() -> None:
    from teams import tasks  # tasks stand on this

    tasks.empty_deleted_projects.nudge()


def _deleted_projects() -> list[UUID]:
    deleted = Project.including_deleted.filter(deleted_at__isnull=False)
    return list(deleted.order_by("deleted_at", "pk").values_list("pk", flat=True))


def _is_gone(project_id: UUID, is_over: Callable[[], bool]) -> bool:
    """Go on with one project. What it fails for holds up no other one, and is tried again at the next turn."""
    try:
        return all(emptier(project_id, is_over) for emptier in _emptiers) and _delete_row(project_id)
    except Exception:
        logger.exception("the deleted project %s could not be emptied", project_id)
        return False


def _delete_row(project_id: UUID) -> bool:
    """Delete the project's row with the few that refer to it; not when somebody was writing more of them meanwhile."""
    try:
        with transaction.atomic():
            Project.including_deleted.filter(pk=project_id).delete()
    except (IntegrityError, ProtectedError, RestrictedError):
        logger.info("something was written for the deleted project %s; it is emptied once more", project_id)
        return False
    logger.info("the deleted project %s is gone", project_id)
    return True


def _mark_late_projects() -> None:
    """Delete what somebody put into a team in the moment in which it was deleted."""
    for project_id in Project.objects.filter(team__deleted_at__isnull=False).values_list("pk", flat=True):
        with suppress(ProjectNotFound):  # somebody else was faster
            delete_project(project_id, asked_by="the deletion of its team")


def _delete_empty_teams() -> None:
    with_projects = Exists(Project.including_deleted.filter(team=OuterRef("pk")))
    for team in Team.including_deleted.filter(~with_projects, deleted_at__isnull=False):
        with suppress(ProtectedError):  # a project came in this very moment: the next turn sees it
            team.delete()
