"""Changes of a project's taxonomy. Each locks the taxonomy's row, so that they happen one after another, and moves its
version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from categorisation import selectors
from categorisation.errors import CategoryNotFound, DuplicateTitle, TooManyCategories
from categorisation.models import Category, Run, Taxonomy
from categorisation.predefined import PREDEFINED_CATEGORIES
from categorisation.services import labels, runs
from categorisation.services.history import SHELL, Actor
from categorisation.services.locks import own_categories
from categorisation.services.taxonomies import lock_taxonomy, move_version
from categorisation.titles import fold_title
from teams.models import Project

MAX_CATEGORIES = 50
MAX_EXAMPLES = 20
MAX_DESCRIPTION_LENGTH = 2_000
MAX_EXAMPLE_LENGTH = 500
TITLE_CONSTRAINT = "category_title_in_project"
TITLE_IS_TAKEN = "The project has a category with this title already."


@transaction.atomic
def seed_taxonomy(project: Project) -> None:
    """Give a new project its taxonomy with the predefined categories."""
    Taxonomy.objects.create(project=project)
    Category.objects.bulk_create(
        Category(
            project=project,
            title=predefined.title,
            description=predefined.description,
            examples=list(predefined.examples),
            cues=list(predefined.cues),
            is_predefined=True,
        )
        for predefined in PREDEFINED_CATEGORIES
    )


def create_category(*, project_id: UUID, title: str, description: str = "", examples: Sequence[str] = ()) -> Category:
    """Add a category. Raises DuplicateTitle or TooManyCategories."""
    with _duplicates_translated(), transaction.atomic():
        taxonomy = lock_taxonomy(project_id)
        if selectors.categories_of(project_id).count() >= MAX_CATEGORIES:
            raise TooManyCategories(f"A project has at most {MAX_CATEGORIES} categories.")
        _refuse_taken_title(project_id, title)
        category = Category.objects.create(
            project_id=project_id, title=title.strip(), description=description, examples=list(examples)
        )
        move_version(taxonomy)
    return category


def change_category(*, project_id: UUID, category_id: UUID, changes: Mapping[str, Any]) -> tuple[Category, bool]:
    """Correct a category's title, description or examples; the category, and whether anything changed.

    Its labels stay. What a predefined category knows beyond these fields was written for its description, and goes
    when that changes. Raises CategoryNotFound or DuplicateTitle.
    """
    with _duplicates_translated(), transaction.atomic():
        taxonomy = lock_taxonomy(project_id)
        own_categories(project_id)
        category = selectors.find_category(project_id, category_id)
        wanted = {**changes, "title": changes.get("title", category.title).strip()}
        changed = {name: value for name, value in wanted.items() if getattr(category, name) != value}
        if not changed:
            return category, False
        if "title" in changed:
            _refuse_taken_title(project_id, changed["title"], except_id=category_id)
        if "description" in changed:
            changed["cues"] = []
        for name, value in changed.items():
            setattr(category, name, value)
        category.save(update_fields=[*changed, "updated_at"])
        move_version(taxonomy)
    return category, True


@transaction.atomic
def delete_category(
    *, project_id: UUID, category_id: UUID, reassign_to: UUID | None = None, actor: Actor = SHELL
) -> Run:
    """Delete a category: no read shows it from now on, its title is free. The run that sees to its threads.

    They are unlabelled and classified anew, those that a person put there included; or, with `reassign_to`, moved
    there, and a person's decision stays one. However many there are, none of them is touched here. Raises
    CategoryNotFound, also when the target is not another live category of the project.
    """
    taxonomy = lock_taxonomy(project_id)
    own_categories(project_id)
    if reassign_to is not None and reassign_to == category_id:
        raise CategoryNotFound(labels.NO_SUCH_CATEGORY)
    if reassign_to is not None:  # it stays live: who deletes it needs the taxonomy
        selectors.find_category(project_id, reassign_to)
    category = _lock_with_its_deleted(project_id, category_id).get(category_id)
    if category is None:
        raise CategoryNotFound(labels.NO_SUCH_CATEGORY)
    Category.objects.filter(reassigned_to=category, emptied_at=None).update(reassigned_to=reassign_to)
    category.deleted_at = timezone.now()
    category.reassigned_to_id = reassign_to
    category.save(update_fields=["deleted_at", "reassigned_to", "updated_at"])
    move_version(taxonomy)
    return runs.start_after_deletion(taxonomy, category, actor)


def _lock_with_its_deleted(project_id: UUID, category_id: UUID) -> dict[UUID, Category]:
    """The live category and those that were replaced by it, locked in the order in which everybody locks them."""
    deleted = Q(reassigned_to=category_id, deleted_at__isnull=False, emptied_at=None)
    found = Category.objects.filter(Q(pk=category_id, deleted_at=None) | deleted, project_id=project_id)
    return {row.pk: row for row in found.order_by("id").select_for_update(no_key=True)}


def _refuse_taken_title(project_id: UUID, title: str, except_id: UUID | None = None) -> None:
    """Compares as Unicode does, where PostgreSQL's lower() knows only the letters of its locale."""
    titles = dict(selectors.categories_of(project_id).values_list("pk", "title"))
    if fold_title(title) in {fold_title(other) for category_id, other in titles.items() if category_id != except_id}:
        raise DuplicateTitle(TITLE_IS_TAKEN)


@contextmanager
def _duplicates_translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if TITLE_CONSTRAINT not in str(error):
            raise
        raise DuplicateTitle(TITLE_IS_TAKEN) from error
