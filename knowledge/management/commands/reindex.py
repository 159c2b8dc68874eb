"""`manage.py reindex --project ID | --all`: the documents of projects, indexed anew, without a gap in answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from knowledge import selectors, services, tasks
from knowledge.errors import ReindexingNotFound, ReindexingRunning
from knowledge.ingestion import GIVE_UP_AFTER_S, POLL_S, STALLED_AFTER_S
from knowledge.management.progress import LEFT, STALLED
from knowledge.models import Reindexing
from knowledge.reindexing import count_documents
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
            self._wait(begun)

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

    def _wait(self, begun: Sequence[Reindexing]) -> None:
        ids = [each.pk for each in begun]
        counts = [count_documents(each) for each in begun]
        last, moved_at, told_at = 0, time.monotonic(), time.monotonic()
        is_told = False
        with tqdm(total=sum(each.total for each in counts), desc="indexing", unit="document", disable=None) as bar:
            while True:
                rows = list(Reindexing.objects.filter(pk__in=ids))
                counts = [count_documents(each) for each in rows]
                seen = sum(each.done + each.failed for each in counts)
                running = [each for each in rows if each.state == Reindexing.State.RUNNING]
                now = time.monotonic()
                if seen + len(rows) - len(running) != last:
                    last, moved_at, told_at, is_told = seen + len(rows) - len(running), now, now, False
                bar.total = sum(each.total for each in counts)
                bar.update(seen - bar.n)
                if not running:
                    break
                if now - moved_at >= GIVE_UP_AFTER_S:
                    self._warn(LEFT)
                    raise CommandError(f"{len(running)} are not done. {' '.join(each.error for each in running)}".strip())
                if now - moved_at >= STALLED_AFTER_S and not is_told:
                    is_told = True
                    self._warn(STALLED.format(seconds=now - moved_at))
                if now - told_at >= STALLED_AFTER_S / 6:
                    told_at = now
                    tasks.sweep_documents()
                time.sleep(POLL_S)
        self._report(rows)

    def _report(self, ended: Sequence[Reindexing]) -> None:
        left = [each for each in ended if each.state != Reindexing.State.DONE]
        for each in left:
            self._warn(f"project {each.project_id}: {each.state}. {each.error}")
        counts = [count_documents(each) for each in ended]
        failed = sum(each.failed for each in counts)
        self.stdout.write(f"{sum(each.done for each in counts)} documents indexed again, {failed} failed.")
        if left:
            raise CommandError(f"{len(left)} projects are answered from the libraries of before.")

    def _warn(self, message: str) -> None:
        with tqdm.external_write_mode():
            self.stderr.write(self.style.WARNING(message))
