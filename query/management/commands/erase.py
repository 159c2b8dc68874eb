"""`manage.py erase`: delete conversations for good, with all that belongs to them."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count
from django.utils import timezone
from tqdm import tqdm

from query import erasing
from query.criteria import Criterion
from query.errors import ErasureIsOver
from query.models import QuestionAnswer
from teams.errors import ProjectNotFound
from teams.models import Project
from teams.selectors import find_project

ASKED_BY = "manage.py erase"
AGE = re.compile(r"([1-9][0-9]{0,5})([hdw])")
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
INTERRUPTED = 130  # as shells count it
HELP = (
    "Delete conversations for good, with their answers, the history of their labels and all else that belongs to them. "
    "They have to meet everything that is given, and of --email and --client-id either. Backups keep what they hold "
    "until they are deleted themselves."
)


def read_age(text: str) -> datetime:
    """Since when a conversation of that age has been idle."""
    found = AGE.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age, such as 90d, 12w or 36h")
    age = int(found[1]) * UNITS[found[2]]
    try:
        return timezone.now() - age
    except OverflowError as error:
        raise argparse.ArgumentTypeError(f"nothing is as old as {text}") from error


def read_time(text: str) -> datetime:
    """A day, which begins at midnight by UTC, or a moment; both in the past."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day or time, such as 2026-01-31") from error
    found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    if found > timezone.now():
        raise argparse.ArgumentTypeError(f"{text} lies in the future")
    return found


def read_name(text: str) -> str:
    """What names somebody. Nothing would name everybody of whom nothing is known."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("names nobody")
    return text.strip()


class Command(BaseCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        whose = "whose, by what chats gave as user."
        parser.add_argument("--email", type=read_name, help=f"{whose}email; case does not matter")
        parser.add_argument("--client-id", type=read_name, help=f"{whose}unique_client_id")
        age, idle = parser.add_mutually_exclusive_group(), "those in which nothing was asked "
        age.add_argument(
            "--older-than", type=read_age, dest="idle_since", metavar="AGE", help=f"{idle}for 90d, 12w or 36h, say"
        )
        age.add_argument(
            "--before", type=read_time, dest="idle_since", metavar="TIME", help=f"{idle}since 2026-01-31, say (UTC)"
        )
        parser.add_argument("--project", default="", help="a project's id; left out: all projects")
        parser.add_argument("--all", action="store_true", dest="everything", help="every conversation of every project")
        parser.add_argument("--dry-run", action="store_true", help="count them, and do nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")

    def handle(self, *args: Any, dry_run: bool, yes: bool, **options: Any) -> None:
        criterion = self._read_criterion(**options)
        found = self._count(criterion)
        if dry_run or not found:
            return
        self._confirm(found, yes=yes)
        self._erase(criterion)

    def _read_criterion(
        self,
        *,
        email: str | None,
        client_id: str | None,
        idle_since: datetime | None,
        project: str,
        everything: bool,
        **_: Any,
    ) -> Criterion:
        try:
            project_id = find_project(project).pk if project else None
        except ProjectNotFound as error:
            raise CommandError(str(error)) from error
        criterion = Criterion(project_id, email or "", client_id or "", idle_since)
        if criterion.is_met_by_all and not everything:
            raise CommandError("Say which: --email, --client-id, --older-than, --before, --project; or --all.")
        if everything and not criterion.is_met_by_all:
            raise CommandError("--all is every conversation; it goes with nothing that says which.")
        return criterion

    def _count(self, criterion: Criterion) -> int:
        """Tell how many there are, by project."""
        threads = criterion.find_threads()
        counts = list(threads.values_list("project").annotate(number=Count("pk")).order_by("-number", "project"))
        names = dict(Project.including_deleted.filter(pk__in=[pk for pk, _ in counts]).values_list("pk", "name"))
        for pk, number in counts:
            self.stdout.write(f"{number:>12,}  {names[pk]} ({pk})")
        answers = QuestionAnswer.objects.filter(thread__in=threads).count()
        total: int = sum(number for _, number in counts)
        self.stdout.write(f"{total:>12,}  conversations, with {answers:,} question-answers.")
        for earlier in criterion.find_earlier_erasures()[:5]:
            self.stdout.write(
                f"Erased before, by the same address or id: {earlier.erased:,} on {earlier.started_at:%Y-%m-%d %H:%M}"
                f" UTC by {earlier.asked_by} ({earlier.state})."
            )
        return total

    def _confirm(self, found: int, *, yes: bool) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise CommandError("There is no terminal to ask on: say --yes to erase them.")
        if input(f"Erase these {found:,} conversations for good? Type yes: ").strip().lower() != "yes":
            raise CommandError("Nothing was erased.")

    def _erase(self, criterion: Criterion) -> None:
        erasure_id = uuid4()
        # taken in hand before it is there to be found by a worker
        with erasing.in_hand(erasure_id):
            erasure = erasing.begin(criterion, asked_by=ASKED_BY, erasure_id=erasure_id, announce=False)
            number = 0
            try:
                with tqdm(desc="erasing", unit=" conversations", disable=None, dynamic_ncols=True) as bar:
                    for erased in erasing.carry_out(erasure):
                        bar.total = max(erasure.total or 0, number + erased)
                        number += erased
                        bar.update(erased)
            except KeyboardInterrupt as error:
                erasing.cancel(erasure.pk)
                told = f"{number:,} are erased, the others are still there. The same command goes on."
                raise CommandError(told, returncode=INTERRUPTED) from error
            except ErasureIsOver as error:
                raise CommandError(f"{number:,} are erased; then somebody cancelled it.") from error
        self.stdout.write(f"{number:,} conversations are erased (recorded as {erasure.pk}).")
