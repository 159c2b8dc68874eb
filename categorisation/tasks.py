"""What workers run. Each is harmless when it is delivered twice."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from categorisation import composition, services

DELETIONS_BUDGET_S = 20.0


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def classify_thread(thread_id: str) -> None:
    """Classify one thread, if it is due."""
    if composition.classification_is_enabled():
        services.label_thread(UUID(thread_id), composition.classifier())


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def sweep_unlabelled_threads() -> None:
    """On beat: finish deletions that were cut short, and label the young threads that no message announced."""
    services.finish_deletions(budget_s=DELETIONS_BUDGET_S)
    if composition.classification_is_enabled():
        services.sweep_unlabelled_threads(composition.classifier(), questions_per_call=composition.questions_per_call())
