"""What workers do for teams."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from teams import audit


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def forget_old_audit_entries() -> None:
    """On beat: see AUDIT_LOG_DAYS."""
    audit.forget_old_entries(settings.AUDIT_LOG_DAYS)
