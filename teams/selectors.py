"""Reads of teams and projects that are more than a filter."""

from __future__ import annotations

from uuid import UUID

from teams.errors import ProjectNotFound
from teams.models import Project


def find_project(project_id: str) -> Project:
    """The project of that id. Raises ProjectNotFound, also for what is no id at all."""
    try:
        return Project.objects.get(pk=UUID(project_id))
    except (ValueError, Project.DoesNotExist) as error:
        raise ProjectNotFound(f"There is no project {project_id}.") from error
