"""`manage.py ingest PATH --project ID`: a folder of files as a project's documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from knowledge import ingestion, selectors
from knowledge.files import CONTENT_TYPES
from knowledge.management.progress import show_indexing
from knowledge.services import Written
from teams.errors import ProjectNotFound
from teams.selectors import find_project


class Command(BaseCommand):
    help = (
        "Teach a project's bot a file, or the files of a folder and the folders in it: "
        f"{', '.join(CONTENT_TYPES)}. A file that was ingested before is replaced when it changed. "
        "Hidden files are passed over, and links that lead out of the folder."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="a file or a folder")
        parser.add_argument("--project", required=True, help="the project's id")
        parser.add_argument(
            "--base-url",
            default="",
            help="where readers find the originals: each file's path is added; the bare path when left out",
        )
        waiting = parser.add_mutually_exclusive_group()
        waiting.add_argument(
            "--no-wait", action="store_true", help="do not wait for the workers to index the documents"
        )
        waiting.add_argument("--here", action="store_true", help="index in this process: no worker, no broker")

    def handle(
        self, *args: Any, path: Path, project: str, base_url: str, no_wait: bool, here: bool, **options: Any
    ) -> None:
        try:
            owner = find_project(project)
        except ProjectNotFound as exc:
            raise CommandError(str(exc)) from exc
        if base_url and urlsplit(base_url).scheme not in ("http", "https"):
            raise CommandError(f"--base-url {base_url} must be an http:// or https:// address.")
        if not path.exists():
            raise CommandError(f"There is no file and no folder {path}.")
        files, outside = ingestion.find_files(path)
        for link in outside:
            self._warn(f"{link}: passed over, it leads out of {path}.")
        if not files:
            raise CommandError(f"{path} holds no file that ends in {', '.join(CONTENT_TYPES)}.")
        bad: list[Path] = []

        def report(file: Path, reason: str) -> None:
            bad.append(file)
            self._warn(f"{file}: {reason}")

        with tqdm(files, desc="reading", unit="file", disable=None) as bar:
            unfinished, written = ingestion.ingest_files(
                bar, path, project=owner, base_url=base_url, announce=not here, report=report
            )
        counts = ", ".join(f"{written[outcome]} {outcome.value}" for outcome in Written)
        self.stdout.write(f"{len(files)} files: {counts}, {len(bad)} bad.")
        left = [] if no_wait else self._index(unfinished, here)
        if bad or left:
            raise CommandError(f"{len(bad)} files could not be read, {len(left)} documents are not indexed.")

    def _index(self, document_ids: list[UUID], here: bool) -> list[str]:
        """Index the documents, or see to it that the workers do; returns those that are not indexed, reported."""
        if here:
            with tqdm(total=len(document_ids), desc="indexing", unit="document", disable=None) as bar:
                for _ in ingestion.index_here(document_ids):
                    bar.update()
        elif document_ids:
            show_indexing(document_ids, warn=self._warn)
        left = []
        for document in selectors.find_unfinished(document_ids):
            left.append(str(document.external_id))
            self._warn(f"{document.external_id}: {document.state}. {document.error}")
        return left

    def _warn(self, message: str) -> None:
        with tqdm.external_write_mode():
            self.stderr.write(self.style.WARNING(message))
