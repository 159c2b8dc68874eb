"""What this room announces to whoever listens."""

from __future__ import annotations

from django.dispatch import Signal

# Sent when a new thread is committed, with `thread_id: UUID`. A receiver's fault is logged and changes nothing here.
thread_started = Signal()

# Sent while threads are being erased, in the transaction that does it, with `thread_ids: list[UUID]`. A receiver
# deletes what it keeps about them; what it raises undoes the erasure.
threads_erased = Signal()
