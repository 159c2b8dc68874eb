"""`manage.py reindex --project ID | --all`: the documents of projects, indexed anew, without a gap in answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from knowledge import selectors, services
from knowledge.errors import ReindexingNotFound, ReindexingRunning
from knowledge.management.progress import show_reindexing
from knowledge.models import Reindexing
from teams.errors import ProjectNotFound
from teams.models import Project
from teams.selectors import find_project


class Command(BaseCommand):
    help = (
        "Embed and index all documents of a project anew, with the embedder of now, in a library beside the one that "
        "answers; when it is whole it takes that one's place. Workers do it: this begins it, and may wait for them. A "
        "project where one runs already is not begun again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--project", help="the project's id")
        which.add_argument("--all", action="store_true", help="every project that has documents")
        does = parser.add_mutually_exclusive_group()
        does.add_argument("--wait", action="store_true", help="show the progress, until all is done")
        does.add_argument("--cancel", action="store_true", help="call off what runs: the old libraries go on answering")

    def handle(self, *args: Any, project: str | None, wait: bool, cancel: bool, **options: Any) -> None:
        projects = self._find_projects(project)
        if cancel:
            count = sum(self._cancel(each) for each in projects)
            self.stdout.write(f"{count} called off.")
            return
        begun = [self._start(each) for each in projects]
        self.stdout.write(f"{len(begun)} projects' documents are being indexed again.")
        if wait and begun:
            self._wait([each.pk for each in begun])

    def _find_projects(self, project: str | None) -> Sequence[Project]:
        if project is None:
            return list(Project.objects.filter(documents__deleted_at=None, documents__isnull=False).distinct())
        try:
            return [find_project(project)]
        except ProjectNotFound as exc:
            raise CommandError(str(exc)) from exc

    def _start(self, project: Project) -> Reindexing:
        try:
            return services.start_reindexing(project=project)
        except ReindexingRunning:
            return selectors.find_reindexing(project.pk)

    def _cancel(self, project: Project) -> bool:
        try:
            return services.cancel_reindexing(selectors.find_reindexing(project.pk).pk)
        except ReindexingNotFound:
            return False

    def _wait(self, ids: Sequence[UUID]) -> None:
        is_over = show_reindexing(ids, warn=self._warn)
        left = Reindexing.objects.filter(pk__in=ids).exclude(state=Reindexing.State.DONE)
        for each in left:
            self._warn(f"project {each.project_id}: {each.state}. {each.error}")
        progress = selectors.count_reindexings(ids)
        self.stdout.write(f"{progress.done} documents indexed again, {progress.failed} failed.")
        if left and is_over:
            raise CommandError(f"{len(left)} projects are answered from the libraries of before.")
        if left:
            raise CommandError(f"{len(left)} projects are not done.")

    def _warn(self, message: str) -> None:
        with tqdm.external_write_mode():
            self.stderr.write(self.style.WARNING(message))
