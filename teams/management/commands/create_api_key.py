"""`manage.py create_api_key`: a key of a project, printed once."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from teams import selectors, services
from teams.errors import TeamsError
from teams.models import Scope


class Command(BaseCommand):
    help = "Make an API key for a project. The key is printed once and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", required=True, help="the project's id")
        parser.add_argument("--scopes", required=True, help=f"comma-separated, of: {', '.join(Scope.values)}")
        parser.add_argument(
            "--expires", help="a date, a time (ISO 8601) or a stretch such as 90d; never, when left out"
        )
        parser.add_argument("--name", default="made on the command line", help="by which people tell it apart")

    def handle(self, *args: Any, project: str, scopes: str, expires: str | None, name: str, **options: Any) -> None:
        expires_at = read_expiry(expires, timezone.now()) if expires else None
        wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
        try:
            _, plain = services.create_api_key(
                project=selectors.find_project(project), name=name, scopes=wanted, expires_at=expires_at
            )
        except TeamsError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(plain)


def read_expiry(text: str, now: datetime) -> datetime:
    """When a key ends. Raises CommandError for what is not understood, or past."""
    if days := re.fullmatch(r"([1-9]\d{0,4})d", text):
        return now + timedelta(days=int(days[1]))
    try:
        day, moment = parse_date(text), parse_datetime(text)
    except ValueError as error:
        raise CommandError(f"--expires {text}: there is no such day.") from error
    if moment is None and day is not None:
        moment = datetime.combine(day, datetime.min.time())
    if moment is None:
        raise CommandError(f"--expires {text} is not understood; give 2030-01-31, 2030-01-31T12:00Z or 90d.")
    moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    if moment <= now:
        raise CommandError(f"--expires {text} lies in the past.")
    return moment
