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
from knowledge.targets import Target, find_targets
from knowledge.vector_store import StoredDocument, VectorStore

_NAME_OF_OURS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{12}")
_ROWS_PER_READ = 500
_COMPARED = (
    *("title", "metadata", "state", "deleted_at", "live_revision", "chunk_count"),
    *("reindexing_id", "rebuilt_revision", "rebuilt_chunk_count"),
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What differs between a project's rows and its libraries: the live one, and one that a reindexing fills.

    `lacking` are documents of which a library does not hold the chunks that their row says; `outdated` those that it
    knows by another title or with other metadata, which filters go by; `unknown` are (library, document) without a
    row: never shown, but there.
    """

    project_id: UUID
    lacking: set[UUID] = field(default_factory=set)
    outdated: set[UUID] = field(default_factory=set)
    unknown: list[tuple[str, str]] = field(default_factory=list)


def compare(store: VectorStore, project_id: UUID | None = None) -> Iterator[Findings]:
    """Yield what differs in each project that has a library, or in one. Raises VectorStoreUnavailable."""
    chosen = Library.objects.all() if project_id is None else Library.objects.filter(project_id=project_id)
    for each in chosen.order_by("pk").values_list("pk", flat=True):
        yield _compare(store, each)


def mend(store: VectorStore, findings: Findings) -> None:
    """Have workers index what is lacking or outdated, and delete what is unknown. Raises VectorStoreUnavailable."""
    for batch in _in_batches(findings.lacking):
        services.index_again(Document.objects.filter(pk__in=batch))
    for batch in _in_batches(findings.outdated - findings.lacking):
        services.describe_again(Document.objects.filter(pk__in=batch))
    for library_id, document_id in findings.unknown:
        store.delete_document(library_id, document_id)


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


def _compare(store: VectorStore, project_id: UUID) -> Findings:
    findings = Findings(project_id)
    targets = find_targets(project_id)
    for target in targets.all if targets else ():
        _compare_library(store, target, findings)
    return findings


def _compare_library(store: VectorStore, target: Target, findings: Findings) -> None:
    # Before the rows: what is stored by now has a row then, unless it was deleted meanwhile.
    stored = _read_stored(store, target.library_id)
    for row in Document.objects.filter(project_id=findings.project_id).only(*_COMPARED).iterator(_ROWS_PER_READ):
        found = stored.pop(str(row.pk), None)
        revision = target.revision_of(row)
        if row.deleted_at is not None or revision is None:
            continue
        if found is None or store.count_chunks(target.library_id, found.id, revision) != target.chunk_count_of(row):
            findings.lacking.add(row.pk)
        elif row.state == Document.State.INDEXED and not services.is_same(
            [found.name, found.metadata], [row.title, row.metadata]
        ):
            findings.outdated.add(row.pk)
    findings.unknown.extend((target.library_id, document_id) for document_id in stored)


def _read_stored(store: VectorStore, library_id: str) -> dict[str, StoredDocument]:
    try:
        return {document.id: document for document in store.list_documents(library_id)}
    except LibraryMissing:
        return {}


def _in_batches(ids: set[UUID]) -> Iterator[list[UUID]]:
    in_order = sorted(ids)
    for start in range(0, len(in_order), _ROWS_PER_READ):
        yield in_order[start : start + _ROWS_PER_READ]
