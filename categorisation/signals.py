"""What this room announces to whoever listens."""

from __future__ import annotations

from django.dispatch import Signal

# Sent when threads that bore a label are committed without one, with `thread_ids: Sequence[UUID]`: they wait to be
# classified anew.
threads_unlabelled = Signal()

# Sent when a run that was started or resumed is committed, with `run_id: UUID`: the planner need not wait for beat.
run_waits = Signal()
