"""What workers do for documents. Thin: knowledge.indexing decides. Every task may be lost, doubled or killed."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from knowledge import composition, indexing, libraries, reindexing
from knowledge.indexing import Outcome

DOCUMENTS_PER_SWEEP = 500


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def index_document(document_id: str) -> None:
    """Index a document, or a good part of it; then its successor goes on."""
    if composition.indexer().index(UUID(document_id)) is Outcome.UNFINISHED:
        index_document.nudge(document_id)


@shared_task  # type: ignore[untyped-decorator]
def erase_document(document_id: str) -> None:
    """Erase a deleted document."""
    composition.indexer().erase(UUID(document_id))


@shared_task  # type: ignore[untyped-decorator]
def sweep_documents() -> None:
    """Take up what a lost message, a dead worker or a pause left: the rows say what is due."""
    to_index, to_erase = indexing.find_due(DOCUMENTS_PER_SWEEP)
    for document_id in to_erase:
        erase_document.nudge(str(document_id))
    for document_id in to_index:
        index_document.nudge(str(document_id))
    for reindexing_id in reindexing.find_due_reindexings():
        advance_reindexing.nudge(str(reindexing_id))
    if libraries.are_due():
        delete_libraries.nudge()


@shared_task  # type: ignore[untyped-decorator]
def advance_reindexing(reindexing_id: str) -> None:
    """Index a project's documents again, for a turn; then others have theirs."""
    if composition.reindexer().advance(UUID(reindexing_id)) is Outcome.UNFINISHED:
        advance_reindexing.nudge(reindexing_id)


@shared_task  # type: ignore[untyped-decorator]
def delete_libraries() -> None:
    """Delete the libraries that no project uses any more."""
    libraries.delete_due(composition.vector_store())
