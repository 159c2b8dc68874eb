"""What workers do for teams and projects. Thin, and harmless when a task is lost, doubled or killed."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from teams import audit, deletion, logins

EMPTYING_BUDGET_S = 20.0


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def forget_old_audit_entries() -> None:
    """On beat: see AUDIT_LOG_DAYS."""
    audit.forget_old_entries(settings.AUDIT_LOG_DAYS)


@shared_task  # type: ignore[untyped-decorator]
def empty_deleted_projects() -> None:
    """On beat, and on every deletion: let go of what was a deleted project's own."""
    deletion.empty_deleted(EMPTYING_BUDGET_S)


@shared_task  # type: ignore[untyped-decorator]
def forget_expired_logins() -> None:
    """On beat."""
    logins.forget_expired()
