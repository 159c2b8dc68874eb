"""What becomes of a deleted project's conversations: an erasure like any other, recorded like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from query import erasing
from query.criteria import Criterion
from query.models import Erasure, Thread
from teams import deletion
from teams.models import Project
from teams.signals import project_deleted


def listen() -> None:
    """Have the conversations of projects that are deleted erased, from now on."""
    project_deleted.connect(begin_erasure, dispatch_uid="query.emptying")
    deletion.register(empty_project)


def begin_erasure(project: Project, asked_by: str, **kwargs: Any) -> None:
    """Record that they are to be erased, in the transaction that deletes the project."""
    erasing.begin(Criterion(project_id=project.pk), asked_by=asked_by, reason=Erasure.Reason.PROJECT_DELETED)


def empty_project(project_id: UUID, is_over: Callable[[], bool]) -> bool:
    """Whether the project's erasures are over and no conversation of it is left; one that came after goes now."""
    if Erasure.objects.filter(project=project_id, state=Erasure.State.OPEN).exists():
        return False
    for _ in erasing.erase_in_batches(Criterion(project_id=project_id), note=lambda number: None):
        if is_over():
            return False
    return not Thread.objects.filter(project_id=project_id).exists()
