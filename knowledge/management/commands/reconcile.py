"""`manage.py reconcile`: does vectordb hold what the rows say? What is missing is indexed again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from knowledge import composition, reconciling
from knowledge.errors import VectorStoreUnavailable
from knowledge.vector_store import VectorStore
from teams.errors import ProjectNotFound
from teams.selectors import find_project


class Command(BaseCommand):
    help = (
        "Compare the vector database with the documents' rows, after one of them was put back from a copy. Documents "
        "whose chunks are missing are indexed again by the workers; documents that no row knows are deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", help="only this project, by its id")
        parser.add_argument(
            "--check", action="store_true", help="change nothing; the exit code is 1 if anything differs"
        )
        parser.add_argument(
            "--delete-unknown-libraries",
            action="store_true",
            help="delete libraries of projects that are not there; not where another service has libraries in it, too",
        )

    def handle(
        self, *args: Any, project: str | None, check: bool, delete_unknown_libraries: bool, **options: Any
    ) -> None:
        try:
            project_id = find_project(project).pk if project else None
        except ProjectNotFound as exc:
            raise CommandError(str(exc)) from exc
        store = composition.vector_store()
        try:
            differences = self._reconcile_documents(store, project_id, mends=not check)
            if project_id is None:
                differences += self._reconcile_libraries(store, deletes=delete_unknown_libraries and not check)
        except VectorStoreUnavailable as exc:
            raise CommandError(f"The vector database cannot be compared: {exc}") from exc
        if not differences:
            self.stdout.write("The vector database holds what the rows say.")
        elif check:
            raise CommandError(f"{differences} differences.")

    def _reconcile_documents(self, store: VectorStore, project_id: UUID | None, *, mends: bool) -> int:
        """Tell what differs, and mend it; return how many documents that are."""
        differences = 0
        for found in reconciling.compare(store, project_id):
            count = len(found.lacking) + len(found.outdated) + len(found.unknown)
            differences += count
            if not count:
                continue
            if mends:
                reconciling.mend(store, found)
            self.stdout.write(
                f"project {found.project_id}: {len(found.lacking)} documents lack chunks and "
                f"{len(found.outdated)} are outdated ({'indexed again' if mends else 'to be indexed again'}); "
                f"{len(found.unknown)} that no row knows ({'deleted' if mends else 'to be deleted'})"
            )
        return differences

    def _reconcile_libraries(self, store: VectorStore, *, deletes: bool) -> int:
        """Tell which libraries no row knows, and have them deleted; return how many."""
        unknown = reconciling.find_unknown_libraries(store)
        if deletes:
            reconciling.discard_libraries(unknown)
        for library_id in unknown:
            self.stdout.write(f"library {library_id}: no project has it ({'deleted soon' if deletes else 'left'})")
        return len(unknown)
