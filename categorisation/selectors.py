"""Reads of categories and labels that are more than a filter. None of them shows a deleted category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from categorisation import composition
from categorisation.classifiers import CategorySpec
from categorisation.errors import CategoryNotFound, RunNotFound
from categorisation.models import Category, Run, Taxonomy
from query.models import CategorySource, Thread
from query.selectors import Label


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


def runs_of(project_id: UUID) -> QuerySet[Run]:
    """The project's runs."""
    return Run.objects.filter(project_id=project_id)


def find_run(project_id: UUID, run_id: UUID) -> Run:
    """The run, if it is the project's. Raises RunNotFound."""
    run = runs_of(project_id).filter(pk=run_id).first()
    if run is None:
        raise RunNotFound("There is no such run.")
    return run


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


def labels_that_show(project_id: UUID, filters: Mapping[str, Any]) -> list[Label] | None:
    """The labels of rows that show the category (an id, or None) and the source that are asked for; None: all do.

    Raises CategoryNotFound.
    """
    if not filters.keys() & {"category", "category_source"}:
        return None
    shown = shown_categories(project_id)
    if (wanted := filters.get("category")) is not None and shown.get(wanted) != wanted:
        raise CategoryNotFound("There is no such category.")
    return [
        borne
        for borne, shows in _shown_labels(shown)
        if shows.category_id == filters.get("category", shows.category_id)
        and shows.source == filters.get("category_source", shows.source)
    ]


def shown_categories(project_id: UUID) -> dict[UUID, UUID | None]:
    """For each category that a thread of the project may bear the one that is shown: itself, its successor, or none."""
    may_be_borne = Category.objects.filter(Q(deleted_at=None) | Q(emptied_at=None), project_id=project_id)
    rows = list(may_be_borne.values_list("pk", "deleted_at", "reassigned_to_id"))
    live = {pk for pk, deleted_at, _ in rows if deleted_at is None}
    return {pk: pk if pk in live else successor if successor in live else None for pk, _, successor in rows}


def _shown_labels(shown: Mapping[UUID, UUID | None]) -> Iterator[tuple[Label, Label]]:
    """Every label that a row may bear, and the one that is shown in its place."""
    unlabelled = Label(None, None)
    yield unlabelled, unlabelled
    yield Label(None, CategorySource.USER), Label(None, CategorySource.USER)
    for category_id, successor_id in shown.items():
        for source in CategorySource:
            yield Label(category_id, source), Label(successor_id, source) if successor_id else unlabelled


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
