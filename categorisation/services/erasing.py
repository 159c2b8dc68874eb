"""What this room knows of conversations goes with them, and what it knows of a project with the project.

By plain statements: nobody is to write down what was in the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Model
from django.db.models.functions import Now

from categorisation.models import OPEN_STATES, Category, LabelChange, PreviewThread, Run, RunState, Taxonomy
from categorisation.services.taxonomies import lock_taxonomy


def forget_threads(thread_ids: Sequence[UUID]) -> None:
    """Delete the history of their labels and their places in previews' samples, in the transaction that erases them."""
    for model in (LabelChange, PreviewThread):
        _delete(model, "thread_id = ANY(%s::uuid[])", list(thread_ids))


def stop_classifying(project_id: UUID) -> None:
    """Have nothing of a project classified any more, in the transaction that deletes it."""
    taxonomy = lock_taxonomy(project_id)
    Taxonomy.objects.filter(pk=taxonomy.pk).update(is_enabled=False)
    runs = Run.objects.filter(project_id=project_id, state__in=OPEN_STATES)
    runs.update(state=RunState.CANCELLED, finished_at=Now())


def empty_project(project_id: UUID, is_over: Callable[[], bool]) -> bool:
    """Delete a project's runs and categories, which no conversation refers to any more. Whether that was done."""
    with transaction.atomic():
        lock_taxonomy(project_id)  # nobody begins a run meanwhile
        _delete(PreviewThread, "run_id IN (SELECT id FROM categorisation_run WHERE project_id = %s)", project_id)
        for model in (Run, Category):
            _delete(model, "project_id = %s", project_id)
    return True


def _delete(model: type[Model], condition: str, parameter: Any) -> None:
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE {condition}", [parameter])  # noqa: S608
