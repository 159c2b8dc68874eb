"""What this room announces to whoever listens."""

from __future__ import annotations

from django.dispatch import Signal

# Sent when threads that bore a label are committed without one, with `thread_ids: Sequence[UUID]`: they wait to be
# classified anew.
threads_unlabelled = Signal()
