"""What a stretch of time is described by. Imports neither Django nor Celery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to `end`, which is no part of it, and the one before it, which begins at `before` and ends there."""

    before: datetime
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Count:
    """How many there were, and how many in the span before."""

    now: int = 0
    before: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.now + other.now, self.before + other.before)

    def __bool__(self) -> bool:
        return bool(self.now or self.before)


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """Conversations that show this category. Without an id: unlabelled, or by a person's word in none of them."""

    category_id: UUID | None
    title: str
    threads: Count


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question as it was asked, cut at a bounded length."""

    text: str
    asked_at: datetime
    is_uncertain: bool


@dataclass(frozen=True, slots=True)
class ProjectFigures:
    """One project's span. `categories` are ordered by their conversations; the latest questions come first."""

    project_id: UUID
    name: str
    threads: Count = Count()
    questions: Count = Count()
    uncertain: Count = Count()
    categories: tuple[CategoryCount, ...] = ()
    latest: tuple[AskedQuestion, ...] = ()
    latest_uncertain: tuple[AskedQuestion, ...] = ()

    @property
    def is_active(self) -> bool:
        return bool(self.threads or self.questions)


@dataclass(frozen=True, slots=True)
class TeamFigures:
    """A team's projects, those with the most questions first."""

    projects: tuple[ProjectFigures, ...]

    @property
    def is_active(self) -> bool:
        return any(project.is_active for project in self.projects)

    @property
    def threads(self) -> Count:
        return sum((project.threads for project in self.projects), Count())

    @property
    def questions(self) -> Count:
        return sum((project.questions for project in self.projects), Count())

    @property
    def uncertain(self) -> Count:
        return sum((project.uncertain for project in self.projects), Count())
