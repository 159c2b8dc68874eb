"""Which of vectordb's libraries a document's chunks belong into: the live one, and the one that a reindexing fills.

Answers are drawn from the live library. While a reindexing runs, every change of a document goes into both, so that
the new one is complete at the moment in which it takes the other's place: one UPDATE of the project's row (`switch`).
A document's row says what each of them holds of it:

    live library     live_revision, chunk_count
    that being built rebuilt_revision, rebuilt_chunk_count, if reindexing_id is the reindexing's

Whoever publishes a revision locks the project's row and looks whether the libraries are still those that the chunks
were stored in (`confirm`): so a revision is never live in a library that does not hold it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from uuid import UUID

from knowledge.embedders import Embedder
from knowledge.models import Document, Library, Reindexing


class TargetsMoved(Exception):
    """Another library became live, or a reindexing began or ended: what is to be stored where has to be seen anew."""


@dataclass(frozen=True, slots=True)
class Target:
    """A library. `reindexing_id` is None for the live one."""

    library_id: str
    fingerprint: str
    dimension: int
    reindexing_id: UUID | None = None

    def is_up_to_date(self, document: Document) -> bool:
        """Whether it holds the document's newest revision, as far as its row knows."""
        return self.revision_of(document) == document.revision

    def revision_of(self, document: Document) -> int | None:
        """The revision of the document that it holds whole."""
        if self.reindexing_id is None:
            return document.live_revision
        return document.rebuilt_revision if document.reindexing_id == self.reindexing_id else None

    def chunk_count_of(self, document: Document) -> int:
        """How many chunks that revision has in it."""
        if self.reindexing_id is None:
            return document.chunk_count
        return document.rebuilt_chunk_count or 0


@dataclass(frozen=True, slots=True)
class Targets:
    """A project's libraries."""

    live: Target
    building: Target | None = None

    @property
    def all(self) -> tuple[Target, ...]:
        return (self.live,) if self.building is None else (self.live, self.building)


def find_targets(project_id: UUID) -> Targets | None:
    """The project's libraries; None when nothing of it was ever indexed."""
    library = Library.objects.filter(project_id=project_id).first()
    return _targets_of(library) if library else None


def ensure_targets(project_id: UUID, embedder: Embedder) -> Targets:
    """The project's libraries; its first one is to be filled with this embedder."""
    found = find_targets(project_id)
    if found is not None:
        return found
    library, _ = Library.objects.get_or_create(
        project_id=project_id,
        defaults={
            "vectordb_id": name_library(project_id),
            "embedder_fingerprint": embedder.fingerprint,
            "dimension": embedder.dimension,
        },
    )
    return _targets_of(library)


def confirm(project_id: UUID, targets: Targets) -> None:
    """Keep the project's libraries as they are until the caller's transaction ends. Raises TargetsMoved."""
    library = Library.objects.select_for_update(no_key=True).filter(project_id=project_id).first()
    if library is None or _targets_of(library) != targets:
        raise TargetsMoved


def name_library(project_id: UUID) -> str:
    """A new id for a library of the project; the row that keeps it is what finds the library again."""
    return f"{project_id}-{secrets.token_hex(6)}"


def _targets_of(library: Library) -> Targets:
    running = Reindexing.objects.filter(project_id=library.project_id, state=Reindexing.State.RUNNING)
    reindexing = running.exclude(vectordb_id="").first()
    live = Target(library.vectordb_id, library.embedder_fingerprint, library.dimension)
    if reindexing is None or reindexing.dimension is None:
        return Targets(live)
    building = Target(
        reindexing.vectordb_id, reindexing.embedder_fingerprint, reindexing.dimension, reindexing_id=reindexing.pk
    )
    return Targets(live, building)
