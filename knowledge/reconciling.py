"""Whether the vector database holds what the rows say, and what is done where it does not.

Workers keep the two in step. But one of them may be put back to an earlier day, or both from copies that were made at
two moments. Then a document counts as indexed whose chunks are not there, and answers are drawn from nothing, without a
word. That is found here; it is for the workers to mend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from knowledge import libraries, services
from knowledge.errors import LibraryMissing
from knowledge.models import DiscardedLibrary, Document, Library, Reindexing
from knowledge.vector_store import StoredDocument, VectorStore

_NAME_OF_OURS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{12}")
_ROWS_PER_READ = 500


@dataclass(frozen=True, slots=True)
class Findings:
    """What differs between a project's rows and its library.

    `lacking` are documents of whose live revision chunks are missing; `outdated` those that the library knows by
    another title or with other metadata, which filters go by; `unknown` are documents of the library without a row:
    never shown, but there.
    """

    library: Library
    lacking: list[UUID] = field(default_factory=list)
    outdated: list[UUID] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def compare(store: VectorStore, project_id: UUID | None = None) -> Iterator[Findings]:
    """Yield what differs in each project that has a library, or in one. Raises VectorStoreUnavailable."""
    chosen = Library.objects.all() if project_id is None else Library.objects.filter(project_id=project_id)
    for library in chosen.order_by("pk"):
        yield _compare(store, library)


def mend(store: VectorStore, findings: Findings) -> None:
    """Have workers index what is lacking or outdated, and delete what is unknown. Raises VectorStoreUnavailable."""
    for start in range(0, len(findings.lacking), _ROWS_PER_READ):
        services.index_again(Document.objects.filter(pk__in=findings.lacking[start : start + _ROWS_PER_READ]))
    for start in range(0, len(findings.outdated), _ROWS_PER_READ):
        services.describe_again(Document.objects.filter(pk__in=findings.outdated[start : start + _ROWS_PER_READ]))
    for document_id in findings.unknown:
        store.delete_document(findings.library.vectordb_id, document_id)


def find_unknown_libraries(store: VectorStore) -> list[str]:
    """The libraries that bear a name such as this service gives, and that no row knows. They may be another service's.

    Raises VectorStoreUnavailable.
    """
    named = [library_id for library_id in store.list_libraries() if _NAME_OF_OURS.fullmatch(library_id)]
    known = set(Library.objects.values_list("vectordb_id", flat=True))
    known.update(DiscardedLibrary.objects.values_list("pk", flat=True))
    known.update(Reindexing.objects.filter(state=Reindexing.State.RUNNING).values_list("vectordb_id", flat=True))
    return [library_id for library_id in named if library_id not in known]


def discard_libraries(library_ids: list[str]) -> None:
    """Have workers delete these libraries."""
    for library_id in library_ids:
        libraries.discard(library_id)


def _compare(store: VectorStore, library: Library) -> Findings:
    findings = Findings(library)
    # Before the rows: what is stored by now has a row then, unless it was deleted meanwhile.
    stored = _read_stored(store, library)
    rows = Document.objects.filter(project_id=library.project_id).only(
        "pk", "title", "metadata", "state", "live_revision", "chunk_count", "deleted_at"
    )
    for row in rows.iterator(_ROWS_PER_READ):
        found = stored.pop(str(row.pk), None)
        if row.deleted_at is not None or row.live_revision is None:
            continue
        if found is None or not _holds_live_revision(store, library, row):
            findings.lacking.append(row.pk)
        elif row.state == Document.State.INDEXED and not services.is_same(
            [found.name, found.metadata], [row.title, row.metadata]
        ):
            findings.outdated.append(row.pk)
    findings.unknown.extend(stored)
    return findings


def _read_stored(store: VectorStore, library: Library) -> dict[str, StoredDocument]:
    try:
        return {document.id: document for document in store.list_documents(library.vectordb_id)}
    except LibraryMissing:
        return {}


def _holds_live_revision(store: VectorStore, library: Library, row: Document) -> bool:
    assert row.live_revision is not None
    return store.count_chunks(library.vectordb_id, str(row.pk), row.live_revision) == row.chunk_count
