"""What workers do for conversations. Thin: query.erasing decides. Every task may be lost, doubled or killed."""

from __future__ import annotations

from celery import shared_task

from query import erasing

ERASING_BUDGET_S = 20.0


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def erase_conversations() -> None:
    """Erase for a while, then let others go first."""
    if not erasing.carry_out_open(ERASING_BUDGET_S):
        erase_conversations.nudge()
