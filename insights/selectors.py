"""Figures of a team's projects, counted when somebody asks: what was erased is in none of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count as CountRows
from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.utils import timezone

from categorisation.models import Category
from categorisation.selectors import shown_categories
from insights.figures import AskedQuestion, CategoryCount, Count, ProjectFigures, Span, TeamFigures
from insights.models import Report, ReportState
from query.models import CategorySource, QuestionAnswer, Thread
from teams.models import Project, Team

UNLABELLED = "Not sorted yet"
NONE_OF_THEM = "None of the categories"
MAX_DETAILED = 5  # with more, mail programs would cut a mail (at about 100 KB)
LATEST = 5
MAX_QUESTION_LENGTH = 300
# A thread's times are the database's, a question's are the application's: their clocks may differ. The bounds are for
# the index; what is counted is decided by the question's own time.
CLOCKS_DIFFER = timedelta(hours=1)
OF_LATE = timedelta(days=7)
MOST_COUNTED = 100_000


def figures_of_team(team: Team, span: Span) -> TeamFigures:
    """Its projects' figures: of all of them the counts, of those with the most questions the details, too."""
    names = dict(Project.objects.filter(team=team).order_by("name", "pk").values_list("pk", "name"))
    threads, questions = _count_threads(list(names), span), _count_questions(list(names), span)
    counted = [
        ProjectFigures(pk, name, sum(threads[pk].values(), Count()), *questions[pk]) for pk, name in names.items()
    ]
    counted.sort(key=lambda each: (-each.questions.now, -each.questions.before))  # stable: by name otherwise
    return TeamFigures(
        tuple(
            _with_details(each, threads[each.project_id], span) if place < MAX_DETAILED and each.is_active else each
            for place, each in enumerate(counted)
        )
    )


def count_reports() -> dict[str, int]:
    """Those that operators look after: what waits, what nobody knows the fate of, and what failed in the last week."""
    of_late = Report.objects.filter(state=ReportState.FAILED, created_at__gte=timezone.now() - OF_LATE)
    return {
        ReportState.DUE.value: Report.objects.filter(state=ReportState.DUE)[:MOST_COUNTED].count(),
        ReportState.UNKNOWN.value: Report.objects.filter(state=ReportState.UNKNOWN)[:MOST_COUNTED].count(),
        ReportState.FAILED.value: of_late[:MOST_COUNTED].count(),
    }


Label = tuple[UUID | None, str | None]


def _count_threads(project_ids: Sequence[UUID], span: Span) -> Mapping[UUID, dict[Label, Count]]:
    """Threads begun in the span and in the one before, by project and label, as their rows bear it."""
    begun = Thread.objects.filter(project_id__in=project_ids, created_at__gte=span.before, created_at__lt=span.end)
    rows = (
        begun.order_by()
        .values("project_id", "category_id", "category_source")
        .annotate(all=CountRows("pk"), now=CountRows("pk", filter=Q(created_at__gte=span.start)))
    )
    counts: dict[UUID, dict[Label, Count]] = defaultdict(dict)
    for row in rows:
        label = row["category_id"], row["category_source"]
        counts[row["project_id"]][label] = Count(row["now"], row["all"] - row["now"])
    return counts


def _count_questions(project_ids: Sequence[UUID], span: Span) -> Mapping[UUID, tuple[Count, Count]]:
    """By project, the questions of the span and of the one before, and those with an uncertain answer."""
    now = Q(created_at__gte=span.start)
    rows = (
        _asked(span.before, span)
        .filter(thread__project_id__in=project_ids)
        .order_by()
        .values("thread__project_id")
        .annotate(
            all=CountRows("pk"),
            now=CountRows("pk", filter=now),
            uncertain=CountRows("pk", filter=Q(is_uncertain=True)),
            uncertain_now=CountRows("pk", filter=now & Q(is_uncertain=True)),
        )
    )
    counts: dict[UUID, tuple[Count, Count]] = defaultdict(lambda: (Count(), Count()))
    for row in rows:
        counts[row["thread__project_id"]] = (
            Count(row["now"], row["all"] - row["now"]),
            Count(row["uncertain_now"], row["uncertain"] - row["uncertain_now"]),
        )
    return counts


def _asked(since: Any, span: Span) -> QuerySet[QuestionAnswer]:
    """Questions asked from then to the span's end. Every question moves its thread's `updated_at`, which is indexed."""
    return QuestionAnswer.objects.filter(
        created_at__gte=since,
        created_at__lt=span.end,
        thread__updated_at__gte=since - CLOCKS_DIFFER,
        thread__last_activity_at__gte=since - CLOCKS_DIFFER,
        thread__created_at__lt=span.end + CLOCKS_DIFFER,
    )


def _with_details(figures: ProjectFigures, labels: Mapping[Label, Count], span: Span) -> ProjectFigures:
    asked = _asked(span.start, span).filter(thread__project_id=figures.project_id)
    return replace(
        figures,
        categories=_by_category(figures.project_id, labels),
        latest=_latest(asked),
        latest_uncertain=_latest(asked.filter(is_uncertain=True)) if figures.uncertain.now else (),
    )


def _by_category(project_id: UUID, labels: Mapping[Label, Count]) -> tuple[CategoryCount, ...]:
    """The counts by what reads show: of a deleted category its successor's, or unlabelled."""
    shown = shown_categories(project_id)
    titles = dict(Category.objects.filter(project_id=project_id).values_list("pk", "title"))
    counts: dict[tuple[UUID | None, str], Count] = defaultdict(Count)
    for (category_id, source), count in labels.items():
        if category_id is None:
            counts[None, NONE_OF_THEM if source == CategorySource.USER else UNLABELLED] += count
        else:
            shows = shown.get(category_id)
            counts[shows, UNLABELLED if shows is None else titles[shows]] += count
    in_order = sorted(counts.items(), key=lambda item: (-item[1].now, -item[1].before, item[0][1]))
    return tuple(CategoryCount(*category, count) for category, count in in_order if count)


def _latest(asked: QuerySet[QuestionAnswer]) -> tuple[AskedQuestion, ...]:
    rows = asked.order_by("-created_at", "-pk").annotate(beginning=Left("question", MAX_QUESTION_LENGTH + 1))
    return tuple(AskedQuestion(*row) for row in rows.values_list("beginning", "created_at", "is_uncertain")[:LATEST])
