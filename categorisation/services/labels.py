"""Labels are written here, and nowhere else.

Whoever writes a label shares the project's categories and holds FOR SHARE on its own, and a deletion owns them and
updates that row, so that neither slips past the other; categories are locked before threads, always. The classifier
writes only over "unlabelled", in one conditional UPDATE: PostgreSQL evaluates the condition again on the row as it is
when the lock is had, so a person's decision that was committed in the meantime stands.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Subquery
from django.db.models.functions import Now

from categorisation.errors import CategoryNotFound
from categorisation.models import Taxonomy
from categorisation.services.history import NO_LABEL, SHELL, Actor, lock_label, record_change
from categorisation.services.locks import share_categories
from categorisation.signals import threads_unlabelled
from query.errors import ThreadNotFound
from query.models import CategorySource, Thread
from query.selectors import Label

NO_SUCH_CATEGORY = "There is no such category."
NO_SUCH_THREAD = "There is no such thread."
UNLABELLED: dict[str, Any] = {
    "category": None,
    "category_source": None,
    "category_confidence": None,
    "categorised_at": None,
    "category_taxonomy_version": None,
    "classify_after": Now(),
    "classify_attempts": 0,
    "classify_run": None,
    "updated_at": Now(),
}


@transaction.atomic
def assign_label(*, project_id: UUID, thread_id: UUID, category_id: UUID | None, actor: Actor = SHELL) -> None:
    """Record a person's decision, whatever stood there; None says that no category applies, and is as final.

    Raises ThreadNotFound or CategoryNotFound, the latter also for a deleted category and another project's.
    """
    if category_id is not None and not lock_live_categories(project_id, [category_id]):
        raise CategoryNotFound(NO_SUCH_CATEGORY)
    before = lock_label(project_id, thread_id)
    if before is None:
        raise ThreadNotFound(NO_SUCH_THREAD)
    Thread.objects.filter(pk=thread_id).update(
        category=category_id,
        category_source=CategorySource.USER,
        category_confidence=None,
        categorised_at=Now(),
        category_taxonomy_version=Subquery(Taxonomy.objects.filter(project_id=project_id).values("version")),
        classify_attempts=0,
        classify_run=None,
        updated_at=Now(),
    )
    record_change(thread_id, before, Label(category_id, CategorySource.USER), actor)


@transaction.atomic
def forget_label(*, project_id: UUID, thread_id: UUID, actor: Actor = SHELL) -> bool:
    """Forget a person's decision, so that the thread is classified anew; whether there was one.

    A label that the classifier gave stays. Raises ThreadNotFound.
    """
    before = lock_label(project_id, thread_id)
    if before is None:
        raise ThreadNotFound(NO_SUCH_THREAD)
    if before.source != CategorySource.USER:
        return False
    Thread.objects.filter(pk=thread_id).update(**UNLABELLED)
    record_change(thread_id, before, NO_LABEL, actor)
    announce = partial(threads_unlabelled.send_robust, sender=Thread, thread_ids=[thread_id])
    transaction.on_commit(announce, robust=True)
    return True


def lock_live_categories(project_id: UUID, category_ids: Collection[UUID]) -> set[UUID]:
    """Of these the live ones of the project, which stay so until the transaction ends."""
    share_categories(project_id)
    with connection.cursor() as cursor:  # Django's select_for_update has no FOR SHARE
        cursor.execute(
            "SELECT id FROM categorisation_category"
            " WHERE project_id = %s AND id = ANY(%s::uuid[]) AND deleted_at IS NULL ORDER BY id FOR SHARE",
            [project_id, list(category_ids)],
        )
        return {row[0] for row in cursor.fetchall()}
