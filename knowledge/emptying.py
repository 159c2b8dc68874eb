"""What becomes of a deleted project's documents and of its libraries in the vector database."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.db import connection, transaction

from knowledge.models import Document, Library, Reindexing

DOCUMENTS_PER_BATCH = 50  # a document's text may have megabytes

# A worker that has one of them in hand has lost its claim with the row, and writes nothing more.
_DELETE = """
WITH doomed AS (
    SELECT id FROM knowledge_document WHERE project_id = %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
), parts AS (
    DELETE FROM knowledge_filepart WHERE document_id IN (SELECT id FROM doomed)
)
DELETE FROM knowledge_document WHERE id IN (SELECT id FROM doomed)
"""


def empty_project(project_id: UUID, is_over: Callable[[], bool]) -> bool:
    """Delete the project's documents, then the rows that name its libraries: these are deleted later.

    Whether nothing is left.
    """
    while _delete_documents(project_id):
        if is_over():
            return False
    if Document.objects.filter(project_id=project_id).exists():  # somebody writes to it at this moment
        return False
    with transaction.atomic():
        for reindexing in Reindexing.objects.select_for_update().filter(project_id=project_id):
            reindexing.delete()  # so is the one that it fills
        for library in Library.objects.select_for_update().filter(project_id=project_id):
            library.delete()  # by its row: the library is noted to be deleted (knowledge.libraries)
    return True


def _delete_documents(project_id: UUID) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_DELETE, [project_id, DOCUMENTS_PER_BATCH])
        return int(cursor.rowcount)
