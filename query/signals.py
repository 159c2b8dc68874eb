"""What this room announces to whoever listens."""

from __future__ import annotations

from django.dispatch import Signal

# Sent when a new thread is committed, with `thread_id: UUID`. A receiver's fault is logged and changes nothing here.
thread_started = Signal()
