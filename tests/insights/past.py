"""A team with a past: conversations with gaps, over a change of clocks, labelled in every way that there is."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from categorisation.models import Category
from query.models import CategorySource, QuestionAnswer, Thread
from teams.models import Project, Team
from tests.factories.categorisation import CategoryFactory
from tests.factories.teams import ProjectFactory, TeamFactory

DAYS = 75


@dataclass(frozen=True, slots=True)
class Past:
    """`shows` tells for each label that a row bears which title people see."""

    team: Team
    projects: list[Project]
    shows: dict[tuple[object, str | None], str]


def make_past(time_zone: str, first: datetime, seed: int = 1, threads: int = 200) -> Past:
    """`DAYS` days of a team of that time zone, from `first` on. The last of its three projects was never asked."""
    dice = random.Random(seed)
    team = TeamFactory(time_zone=time_zone)
    projects = [ProjectFactory(team=team) for _ in range(3)]
    shows: dict[tuple[object, str | None], str] = {
        (None, None): "Not sorted yet",
        (None, "user"): "None of the categories",
    }
    for project in projects:
        _make_labels(project, first, shows)
    silent = set(dice.sample(range(DAYS), 12))
    for project in projects[:2]:
        _make_threads(project, dice, [day for day in range(DAYS) if day not in silent], first, threads)
    return Past(team, projects, shows)


def _make_labels(project: Project, at: datetime, shows: dict[tuple[object, str | None], str]) -> None:
    """Those that are there, one that was replaced, one that was deleted, and one whose successor was deleted."""
    live = CategoryFactory(project=project)
    replaced = CategoryFactory(project=project, deleted_at=at, reassigned_to=live)
    deleted = CategoryFactory(project=project, deleted_at=at)
    orphan = CategoryFactory(project=project, deleted_at=at, reassigned_to=deleted)
    titles = {each: each.title for each in Category.objects.filter(project=project)}
    titles |= {replaced: live.title, deleted: None, orphan: None}
    for category, title in titles.items():
        for source in CategorySource.values:
            shows[category.pk, source] = title or "Not sorted yet"


def _make_threads(project: Project, dice: random.Random, days: list[int], first: datetime, count: int) -> None:
    categories = list(Category.objects.filter(project=project).order_by("pk"))
    threads, questions = [], []
    for _ in range(count):
        begun = first + timedelta(
            days=dice.choice(days), seconds=dice.randrange(86_400), microseconds=dice.randrange(3)
        )
        times = [begun]
        while dice.random() < 0.4:
            times.append(times[-1] + timedelta(hours=dice.choice([0.1, 1, 20, 60, 400])))
        thread = Thread(project=project, first_question="?", created_at=begun, last_activity_at=times[-1])
        thread.updated_at = times[-1] if dice.random() < 0.5 else times[-1] + timedelta(days=dice.randrange(200))
        _label(thread, dice, categories)
        threads.append(thread)
        questions += [
            QuestionAnswer(
                thread=thread,
                question=f"What of {at:%d.%m. %H:%M:%S.%f}?",
                answer="This.",
                is_uncertain=dice.random() < 0.3,
                created_at=at,
            )
            for at in times
        ]
    Thread.objects.bulk_create(threads)
    QuestionAnswer.objects.bulk_create(questions)


def _label(thread: Thread, dice: random.Random, categories: list[Category]) -> None:
    source = dice.choice([None, CategorySource.CLASSIFIER, CategorySource.CLASSIFIER, CategorySource.USER])
    if source is None:
        return
    thread.category_source = source
    thread.categorised_at = thread.created_at
    if source == CategorySource.CLASSIFIER or dice.random() < 0.7:
        thread.category = dice.choice(categories)
