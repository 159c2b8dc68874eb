"""Reads of categories and labels that are more than a filter. None of them shows a deleted category."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from categorisation import composition
from categorisation.classifiers import CategorySpec
from categorisation.errors import CategoryNotFound
from categorisation.models import Category, Taxonomy
from query.models import Thread


@dataclass(frozen=True, slots=True)
class TaxonomySnapshot:
    """A project's live categories as a classifier reads them, and a version that is no newer than they are."""

    version: int
    categories: tuple[CategorySpec, ...]


def categories_of(project_id: UUID) -> QuerySet[Category]:
    """The project's live categories."""
    return Category.objects.filter(project_id=project_id, deleted_at=None)


def find_category(project_id: UUID, category_id: UUID) -> Category:
    """The live category, if it is the project's. Raises CategoryNotFound."""
    category = categories_of(project_id).filter(pk=category_id).first()
    if category is None:
        raise CategoryNotFound("There is no such category.")
    return category


def read_taxonomy(project_id: UUID) -> TaxonomySnapshot:
    """What there is to choose from now; nothing when the project is gone."""
    # The version is read first: when the categories change in between, labels count as given under the older one.
    version = Taxonomy.objects.values_list("version", flat=True).filter(project_id=project_id).first() or 0
    specs = (
        CategorySpec(
            id=str(category.pk),
            title=category.title,
            description=category.description,
            examples=tuple(category.examples),
            cues=tuple(category.cues),
        )
        for category in categories_of(project_id).order_by("created_at", "id")
    )
    return TaxonomySnapshot(version, tuple(specs))


def with_category(threads: QuerySet[Thread], project_id: UUID, category_id: UUID | None) -> QuerySet[Thread]:
    """Of the project's threads those that show this category, or none. Raises CategoryNotFound."""
    if category_id is not None:
        return threads.filter(category_id=find_category(project_id, category_id).pk)
    deleted = list(
        Category.objects.filter(project_id=project_id, deleted_at__isnull=False).values_list("pk", flat=True)
    )
    # Two queries instead of a join: without deleted categories, the usual case, an index answers alone.
    return threads.filter(Q(category=None) | Q(category__in=deleted)) if deleted else threads.filter(category=None)


def with_category_source(threads: QuerySet[Thread], source: str) -> QuerySet[Thread]:
    """The threads whose label that is shown was given by `source`."""
    return threads.filter(category_source=source, category__deleted_at=None)


def due_threads() -> QuerySet[Thread]:
    """Unlabelled threads that may be claimed now: their project has categories, and nothing is switched off."""
    if not composition.classification_is_enabled():
        return Thread.objects.none()
    enabled = Taxonomy.objects.filter(project_id=OuterRef("project_id"), is_enabled=True)
    live = Category.objects.filter(project_id=OuterRef("project_id"), deleted_at=None)
    return Thread.objects.filter(
        Exists(enabled), Exists(live), category=None, category_source=None, classify_after__lte=Now()
    )


def projects_with_due_threads(created_after: datetime, *, limit: int) -> list[UUID]:
    """Projects that have a claimable thread begun after this time; any of them, when there are more than `limit`."""
    due = due_threads().filter(project_id=OuterRef("project_id"), created_at__gt=created_after)
    return list(Taxonomy.objects.filter(Exists(due)).order_by("?").values_list("project_id", flat=True)[:limit])
