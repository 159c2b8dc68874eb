"""A project's taxonomy as a row: locked by whoever changes its categories or decides on its runs, one after another."""

from __future__ import annotations

from uuid import UUID

from categorisation.models import Taxonomy


def lock_taxonomy(project_id: UUID) -> Taxonomy:
    """The taxonomy's row, which nobody else changes until the transaction ends."""
    taxonomy, _ = Taxonomy.objects.select_for_update(no_key=True).get_or_create(project_id=project_id)
    return taxonomy


def move_version(taxonomy: Taxonomy) -> None:
    """Note a change of the categories, in the transaction that makes it."""
    taxonomy.version += 1
    taxonomy.save(update_fields=["version"])
