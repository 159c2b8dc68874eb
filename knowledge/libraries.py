"""vectordb's libraries that no project uses any more: noted in the transaction that lets go of them, deleted later.

A project may be deleted, or its library replaced, while a worker writes to it or a question searches in it. Whoever
wrote to a library after its deletion would make it anew, and nobody would know of it. So it goes when everybody who may
have found it in use has ended.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.db.models.signals import pre_delete

from knowledge.claims import LEASE
from knowledge.errors import VectorStoreUnavailable
from knowledge.models import DiscardedLibrary, Library, Reindexing
from knowledge.vector_store import VectorStore

logger = logging.getLogger(__name__)

DELETIONS_PER_TASK = 20


def discard(vectordb_id: str) -> None:
    """Let the library be deleted once nobody can be at work in it any more. In the caller's transaction."""
    DiscardedLibrary.objects.get_or_create(pk=vectordb_id, defaults={"delete_after": Now() + LEASE})


def are_due() -> bool:
    """Whether there are libraries to delete now."""
    return _due().exists()


def delete_due(store: VectorStore) -> None:
    """Delete the libraries that are due. Raises nothing while the vector database is down: they stay due."""
    for vectordb_id in list(_due().values_list("pk", flat=True)[:DELETIONS_PER_TASK]):
        try:
            store.delete_library(vectordb_id)
        except VectorStoreUnavailable as exc:
            logger.warning("the discarded library %s waits: %s", vectordb_id, exc)
            return
        DiscardedLibrary.objects.filter(pk=vectordb_id).delete()
        logger.info("deleted the discarded library %s", vectordb_id)


def discard_those_of_deleted_rows() -> None:
    """See to it that no row that names a library goes, with its project or alone, without the library."""
    pre_delete.connect(_discard_library, sender=Library, dispatch_uid="knowledge.discard_library")
    pre_delete.connect(_discard_library_being_built, sender=Reindexing, dispatch_uid="knowledge.discard_built_library")


def _discard_library(instance: Library, **_: Any) -> None:
    discard(instance.vectordb_id)


def _discard_library_being_built(instance: Reindexing, **_: Any) -> None:
    if instance.state == Reindexing.State.RUNNING and instance.vectordb_id:
        discard(instance.vectordb_id)


def _due() -> QuerySet[DiscardedLibrary]:
    return DiscardedLibrary.objects.filter(delete_after__lte=Now()).order_by("delete_after")
