"""`manage.py create_demo`: on an empty database, everything that a first question needs."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from knowledge import ingestion, selectors
from knowledge.management.progress import show_indexing
from teams import services
from teams.models import Project, Scope, Team, User

TEAM_NAME = "Demo"
PROJECT_NAME = "Documentation bot"
ADMIN_EMAIL = "admin@example.com"
# A runner waits for this command: better a bot that still reads than none.
GIVE_UP_AFTER_S = 120.0


class Command(BaseCommand):
    help = (
        "Make a team, a project that knows the files of a folder, a key and a superuser, and write how to reach them "
        "into a file that only its owner can read. Does nothing on a database that has a team, a user or a project."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--docs", type=Path, required=True, help="the folder that the bot is taught")
        parser.add_argument("--out", type=Path, required=True, help="the file that is written")
        parser.add_argument("--base-url", required=True, help="where this service is reached")
        parser.add_argument("--vectordb-url", required=True, help="where the vector database is reached")
        parser.add_argument("--wait", action="store_true", help="wait until the bot has read everything")

    def handle(
        self, *args: Any, docs: Path, out: Path, base_url: str, vectordb_url: str, wait: bool, **options: Any
    ) -> None:
        if not docs.is_dir():
            raise CommandError(f"There is no folder {docs}.")
        if Team.objects.exists() or User.objects.exists() or Project.objects.exists():
            self.stdout.write("The database is not empty: no demo was made.")
            return
        try:
            unfinished = self._make(docs, out, base_url, vectordb_url)
        except OSError as exc:
            raise CommandError(f"{out} cannot be written: {exc.strerror}. No demo was made.") from exc
        self.stdout.write(f"The demo's addresses and keys are in {out}.")
        if wait:
            self._wait(unfinished)

    # The file is written before the commit: with neither or with both, the next call does the right thing.
    @transaction.atomic
    def _make(self, docs: Path, out: Path, base_url: str, vectordb_url: str) -> list[UUID]:
        project = services.create_project(team_name=TEAM_NAME, name=PROJECT_NAME)
        _, plain_key = services.create_api_key(project=project, name="demo", scopes=Scope.values)
        password = secrets.token_urlsafe(18)
        User.objects.create_superuser(ADMIN_EMAIL, password).teams.add(project.team)
        unfinished = self._ingest(docs, project)
        vectordb_api_key = settings.ENVIRONMENT.vectordb_api_key
        demo = {
            "base_url": base_url,
            "project_id": str(project.pk),
            "api_key": plain_key,
            "vectordb_url": vectordb_url,
            "vectordb_api_key": vectordb_api_key.get_secret_value() if vectordb_api_key else None,
            "admin_url": f"{base_url.rstrip('/')}/admin/",
            "admin_email": ADMIN_EMAIL,
            "admin_password": password,
        }
        _write_privately(out, demo)
        return unfinished

    def _ingest(self, docs: Path, project: Project) -> list[UUID]:
        files, _ = ingestion.find_files(docs)
        unfinished, _ = ingestion.ingest_files(
            files, docs, project=project, report=lambda path, reason: self.stderr.write(f"{path}: {reason}")
        )
        return unfinished

    def _wait(self, document_ids: list[UUID]) -> None:
        if not document_ids:
            return
        show_indexing(document_ids, warn=self.stderr.write, give_up_after_s=GIVE_UP_AFTER_S)
        for document in selectors.find_unfinished(document_ids):
            self.stderr.write(f"{document.external_id}: {document.state}. {document.error}")


def _write_privately(path: Path, value: dict[str, Any]) -> None:
    """Write JSON so that whoever sees the file sees all of it, and nobody but its owner ever sees any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 600
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(value, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
