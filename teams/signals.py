"""What this room announces to whoever listens."""

from __future__ import annotations

from django.dispatch import Signal

# Sent while a project is being deleted, in the transaction that marks it, with `project: Project` and `asked_by: str`.
# Nothing heavy is to be done then: what was the project's own goes later (teams.deletion).
project_deleted = Signal()
