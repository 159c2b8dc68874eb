"""`manage.py create_project`: a project, and its team when there is none of that name."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from teams import services


class Command(BaseCommand):
    help = (
        "Make a project (a bot) in a team; the team is made when there is none of that name. Prints the project's id."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the project's name")
        parser.add_argument("--team", required=True, help="the team's name")

    def handle(self, *args: Any, name: str, team: str, **options: Any) -> None:
        if not name.strip() or not team.strip():
            raise CommandError("The names of a project and of a team must not be empty.")
        if len(name) > 200 or len(team) > 200:
            raise CommandError("A name has at most 200 characters.")
        project = services.create_project(team_name=team.strip(), name=name.strip())
        self.stdout.write(str(project.pk))
