"""Changes of a project's taxonomy. Each locks the taxonomy's row, so that they happen one after another, and moves its
version."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from categorisation import selectors
from categorisation.errors import CategoryNotFound, DuplicateTitle, TooManyCategories
from categorisation.models import Category, Taxonomy
from categorisation.predefined import PREDEFINED_CATEGORIES
from categorisation.services import labels
from query.models import Thread
from teams.models import Project

MAX_CATEGORIES = 50
MAX_EXAMPLES = 20
MAX_TITLE_LENGTH = 100
MAX_DESCRIPTION_LENGTH = 2_000
MAX_EXAMPLE_LENGTH = 500
LABELS_PER_TRANSACTION = 1_000
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
        taxonomy = _lock_taxonomy(project_id)
        if selectors.categories_of(project_id).count() >= MAX_CATEGORIES:
            raise TooManyCategories(f"A project has at most {MAX_CATEGORIES} categories.")
        _refuse_taken_title(project_id, title)
        category = Category.objects.create(
            project_id=project_id, title=title.strip(), description=description, examples=list(examples)
        )
        _move_version(taxonomy)
    return category


def change_category(*, project_id: UUID, category_id: UUID, changes: Mapping[str, Any]) -> tuple[Category, bool]:
    """Correct a category's title, description or examples; the category, and whether anything changed.

    Its labels stay. What a predefined category knows beyond these fields was written for its description, and goes
    when that changes. Raises CategoryNotFound or DuplicateTitle.
    """
    with _duplicates_translated(), transaction.atomic():
        taxonomy = _lock_taxonomy(project_id)
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
        _move_version(taxonomy)
    return category, True


def delete_category(*, project_id: UUID, category_id: UUID, reassign_to: UUID | None = None) -> None:
    """Delete a category: hidden from now on, its title free.

    Its threads, those that a person put there included, are unlabelled and classified anew; or, with `reassign_to`,
    moved there, and a person's decision stays one. Raises CategoryNotFound, also when the target is not another live
    category of the project.

    Whatever ends this half-way, nothing is lost: what was moved was moved while the category lived, and a deleted
    category that threads still bear is emptied by `finish_deletions`.
    """
    if reassign_to is not None:
        category = selectors.find_category(project_id, category_id)
        if reassign_to == category_id:
            raise CategoryNotFound(labels.NO_SUCH_CATEGORY)
        while labels.move_labels(category, reassign_to, limit=LABELS_PER_TRANSACTION) == LABELS_PER_TRANSACTION:
            pass
    _empty(_mark_deleted(project_id, category_id, reassign_to))


@transaction.atomic
def _mark_deleted(project_id: UUID, category_id: UUID, reassign_to: UUID | None) -> Category:
    taxonomy = _lock_taxonomy(project_id)
    category = selectors.categories_of(project_id).select_for_update().filter(pk=category_id).first()
    if category is None:
        raise CategoryNotFound(labels.NO_SUCH_CATEGORY)
    if reassign_to is not None:  # the few that came while the others were moved; no more can come now
        while labels.move_labels(category, reassign_to, limit=LABELS_PER_TRANSACTION):
            pass
    category.deleted_at = timezone.now()
    category.save(update_fields=["deleted_at", "updated_at"])
    _move_version(taxonomy)
    return category


def finish_deletions(*, budget_s: float) -> bool:
    """Empty the deleted categories that threads still bear; whether the time sufficed."""
    deadline = time.monotonic() + budget_s
    return all(_empty(category, deadline) for category in Category.objects.filter(deleted_at__isnull=False))


def _empty(category: Category, deadline: float | None = None) -> bool:
    # Only the first batch is announced: new conversations must not wait behind a queue of old ones.
    is_announced = True
    while labels.free_labels(category, limit=LABELS_PER_TRANSACTION, is_announced=is_announced):
        is_announced = False
        if deadline is not None and time.monotonic() > deadline:
            return False
    # Django's own delete would look for the threads by category alone, which no index answers.
    borne = Thread.objects.filter(project_id=OuterRef("project_id"), category_id=OuterRef("pk"))
    emptied = Category.objects.filter(~Exists(borne), pk=category.pk, deleted_at__isnull=False)
    emptied._raw_delete(emptied.db)
    return True


def _lock_taxonomy(project_id: UUID) -> Taxonomy:
    taxonomy, _ = Taxonomy.objects.select_for_update().get_or_create(project_id=project_id)
    return taxonomy


def _move_version(taxonomy: Taxonomy) -> None:
    taxonomy.version += 1
    taxonomy.save(update_fields=["version"])


def _refuse_taken_title(project_id: UUID, title: str, except_id: UUID | None = None) -> None:
    """Compares as Unicode does, where PostgreSQL's lower() knows only the letters of its locale."""
    titles = dict(selectors.categories_of(project_id).values_list("pk", "title"))
    if _fold(title) in {_fold(other) for category_id, other in titles.items() if category_id != except_id}:
        raise DuplicateTitle(TITLE_IS_TAKEN)


def _fold(title: str) -> str:
    return unicodedata.normalize("NFC", title.strip().casefold())


@contextmanager
def _duplicates_translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if TITLE_CONSTRAINT not in str(error):
            raise
        raise DuplicateTitle(TITLE_IS_TAKEN) from error
