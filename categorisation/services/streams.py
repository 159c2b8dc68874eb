"""Streams: threads that are classified alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from categorisation import selectors
from categorisation.classifiers import CategorySpec, Classification
from categorisation.errors import ClassifierError
from categorisation.models import Run, RunKind
from categorisation.selectors import TaxonomySnapshot
from categorisation.services.calls import Result
from categorisation.services.claims import Claim


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A run's threads, or a project's young ones (no run): what they are sorted into, and in how many lanes at most."""

    project_id: UUID
    taxonomy: TaxonomySnapshot
    run: Run | None = None
    max_lanes: int | None = None

    @property
    def run_id(self) -> UUID | None:
        return None if self.run is None else self.run.pk

    @property
    def is_preview(self) -> bool:
        return self.run is not None and self.run.kind == RunKind.PREVIEW


class Work(NamedTuple):
    """A claimed thread of a stream."""

    stream: Stream
    claim: Claim


class Done(NamedTuple):
    """What came out for a claimed thread; reused from another with the same question, or computed for its own.

    `lane_s` is how long its classification kept a lane busy.
    """

    work: Work
    result: Result
    is_reused: bool = False
    lane_s: float = 0.0

    @property
    def is_success(self) -> bool:
        return isinstance(self.result, Classification)

    @property
    def is_failure(self) -> bool:
        return isinstance(self.result, ClassifierError)


def young_threads_of(project_id: UUID) -> Stream:
    """The stream of a project's young threads, as its categories are now."""
    return Stream(project_id, selectors.read_taxonomy(project_id))


def describe_draft(run: Run) -> TaxonomySnapshot:
    """A preview's draft as a classifier reads it. A category's id is its position."""
    drafts: list[Mapping[str, Any]] = run.draft or []
    specs = (
        CategorySpec(
            id=str(position),
            title=draft["title"],
            description=draft.get("description", ""),
            examples=tuple(draft.get("examples", ())),
        )
        for position, draft in enumerate(drafts)
    )
    return TaxonomySnapshot(run.taxonomy_version, tuple(specs))
