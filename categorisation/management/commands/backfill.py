"""`manage.py backfill`: label the conversations of the past, by the same machinery as beat does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from categorisation import composition, selectors
from categorisation.errors import RunIsOpen
from categorisation.models import OPEN_STATES, ActorKind, Run, RunKind, RunState, Taxonomy
from categorisation.services import Actor, planning, progress, runs
from categorisation.services.progress import Progress
from teams.errors import ProjectNotFound
from teams.models import Project
from teams.selectors import find_project

ACTOR = Actor(ActorKind.COMMAND, "manage.py backfill")
MOST_THREADS = 2**31 - 1  # that the column of a run's limit holds
LIMIT_HELP = (
    "label at most so many conversations of each project in this run. Beat begins a run for the rest, unless the"
    " project's backfill is suspended: a limited run lets that stand"
)
INTERRUPTED = 130  # as shells count it
PAUSED = "run {} is paused. Resume it in the admin or by the API."
GOES_ON = "The backfill goes on in the background. The same command joins it; the admin and the API pause or cancel it."


@dataclass(frozen=True, slots=True)
class Work:
    """A project, and how many of its conversations there are to label."""

    project: Project
    waiting: int
    given_up: int

    @property
    def total(self) -> int:
        return self.waiting + self.given_up

    def __str__(self) -> str:
        return f"{self.project} ({self.project.pk})"


def read_limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST_THREADS}")
    return number


def _find_open_run(work: Work) -> Run | None:
    return selectors.runs_of(work.project.pk).filter(kind=RunKind.BACKFILL, state__in=OPEN_STATES).first()


class Command(BaseCommand):
    help = (
        "Label the unlabelled conversations that are older than a day, in the background: the workers of the queue "
        "`backfill` do it. Joins a run that is open. The exit code is not 0 when threads were given up."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--project", action="append", default=[], help="a project's id; may be repeated; left out: all with work"
        )
        parser.add_argument("--limit", type=read_limit, help=LIMIT_HELP)
        parser.add_argument("--dry-run", action="store_true", help="tell what there is to do, and do nothing")
        parser.add_argument("--wait", action="store_true", help="show the progress until it is done; Ctrl-C leaves it")

    def handle(
        self, *args: Any, project: list[str], limit: int | None, dry_run: bool, wait: bool, **options: Any
    ) -> None:
        if not composition.classification_is_enabled():
            raise CommandError("Classification is switched off for all projects (CLASSIFICATION_ENABLED).")
        works = [Work(each, *planning.count_backfill_work(each.pk)) for each in self._choose(project)]
        if dry_run:
            self._tell_work(works, limit)
            return
        self._refuse_paused(works if project else [])
        open_runs: list[Run] = []
        try:
            self._run(works, limit, open_runs, wait=wait)
        except KeyboardInterrupt as exc:
            if not open_runs:
                raise
            raise CommandError(GOES_ON, returncode=INTERRUPTED) from exc

    def _run(self, works: Sequence[Work], limit: int | None, open_runs: list[Run], *, wait: bool) -> None:
        """Begin or join the projects' runs, which stand in `open_runs` before anybody is told of them."""
        for work in works:
            self._begin(work, limit, open_runs)
        if not open_runs:
            self.stdout.write("There is nothing to do.")
        elif wait:
            self._wait([run.pk for run in open_runs])
        elif not progress.plan_here():
            self._warn("The broker does not answer. Beat sends the work when it does.")

    def _choose(self, ids: Sequence[str]) -> list[Project]:
        if not ids:
            found = Project.objects.filter(pk__in=planning.projects_to_backfill())
            return list(found.order_by("name", "pk"))
        try:
            projects = [find_project(each) for each in dict.fromkeys(ids)]
        except ProjectNotFound as exc:
            raise CommandError(str(exc)) from exc
        for project in projects:
            if not Taxonomy.objects.filter(project=project, is_enabled=True).exists():
                raise CommandError(f"Classification is switched off for {project} ({project.pk}).")
            if not selectors.categories_of(project.pk).exists():
                raise CommandError(f"{project} ({project.pk}) has no categories.")
        return projects

    def _tell_work(self, works: Sequence[Work], limit: int | None) -> None:
        for work in works:
            shown = work.total if limit is None else min(limit, work.total)
            self.stdout.write(
                f"{work}: {shown} of {work.total} unlabelled conversations would be classified;"
                f" {work.given_up} of the {work.total} were given up before."
            )
        if not works:
            self.stdout.write("There is nothing to do.")

    def _refuse_paused(self, works: Sequence[Work]) -> None:
        """Before anything is begun. Of projects that nobody named, a paused one is passed over instead."""
        for work in works:
            if (run := _find_open_run(work)) is not None and run.state == RunState.PAUSED:
                raise CommandError(f"{work}: {PAUSED.format(run.pk)}")

    def _begin(self, work: Work, limit: int | None, open_runs: list[Run]) -> None:
        """Begin the project's run, or join it."""
        if _find_open_run(work) is not None:
            self._join(work, limit, open_runs)
            return
        if not work.total:
            self.stdout.write(f"{work}: no conversation older than a day is unlabelled.")
            return
        try:
            run = runs.start_backfill(project_id=work.project.pk, actor=ACTOR, limit=limit)
        except RunIsOpen:  # beat began one at this moment
            self._join(work, limit, open_runs)
            return
        open_runs.append(run)
        self.stdout.write(f"{work}: run {run.pk} is begun.")

    def _join(self, work: Work, limit: int | None, open_runs: list[Run]) -> None:
        run = _find_open_run(work)
        if run is None:
            return
        if run.state == RunState.PAUSED:
            self._warn(f"{work}: {PAUSED.format(run.pk)}")
            return
        open_runs.append(run)
        bound = "" if limit is None else "; its own limit holds" if run.limit else "; it has no limit"
        self.stdout.write(f"{work}: run {run.pk} is joined{bound}.")

    def _wait(self, run_ids: Sequence[UUID]) -> None:
        last = self._show(run_ids)
        self.stdout.write(
            f"{last.done} done, {last.reused} of them by the label of an identical question; {last.failed} given up."
        )
        if cancelled := Run.objects.filter(pk__in=run_ids, state=RunState.CANCELLED).count():
            raise CommandError(f"{cancelled} of {len(run_ids)} runs were cancelled.")
        if last.failed:
            raise CommandError(
                f"{last.failed} conversations were given up. The admin lists them: /admin/query/thread/"
                "?classification=given_up"
            )

    def _show(self, run_ids: Sequence[UUID]) -> Progress:
        told = None
        with tqdm(desc="labelling", unit=" conversations", disable=None, dynamic_ncols=True) as bar:
            for seen in progress.watch(run_ids):
                if seen.total is not None and seen.total != bar.total:
                    bar.total = seen.total
                    if not bar.n:
                        bar.initial = bar.n = seen.through  # what was done before does not count for the rate
                bar.set_postfix(given_up=seen.failed, reused=seen.reused, refresh=False)
                bar.update(seen.through - bar.n)
                bar.refresh()
                if seen.obstacle is not None and seen.obstacle is not told:
                    self._warn(seen.obstacle)
                told = seen.obstacle
        return seen

    def _warn(self, message: str) -> None:
        with tqdm.external_write_mode():
            self.stderr.write(self.style.WARNING(message))
