"""A row of every model that the admin shows."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

from auditlog.models import LogEntry
from django.contrib.auth.models import Group
from django.db.models import Model
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from categorisation.models import Batch, Category, ClassifierHealth, Run, Taxonomy
from categorisation.services import start_backfill
from categorisation.services.history import SHELL
from config.beat import find_interval
from insights.models import Report, ReportPreference
from knowledge.models import Document, Library, Reindexing
from knowledge.services import start_reindexing
from query.criteria import Criterion
from query.erasing import begin
from query.models import Erasure, Thread
from teams import services
from teams.models import Project, ProjectAPIKey, Team, User
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import QuestionAnswerFactory
from tests.factories.teams import UserFactory


def unique(name: str) -> str:
    return f"{name} {uuid.uuid4().hex}"


def make_library(project: Project) -> Library:
    return Library.objects.create(
        project=project, vectordb_id=unique("lib"), embedder_fingerprint="tiny@1", dimension=32
    )


def make_periodic_task(project: Project) -> PeriodicTask:
    return PeriodicTask.objects.create(
        name=unique("sweep"), task="categorisation.tasks.plan", interval=find_interval(timedelta(seconds=30))
    )


def make_report(project: Project) -> Report:
    today = timezone.now()
    return Report.objects.create(
        user=UserFactory(),
        team=project.team,
        frequency="daily",
        period_start=today - timedelta(days=1),
        period_end=today,
        time_zone="UTC",
        send_until=today,
    )


MAKERS: dict[type[Model], Callable[[Project], Model]] = {
    Group: lambda project: Group.objects.create(name=unique("Staff")),
    Team: lambda project: project.team,
    User: lambda project: UserFactory(),
    Project: lambda project: project,
    ProjectAPIKey: lambda project: services.create_api_key(project=project, name="k", scopes=["read"])[0],
    Document: lambda project: DocumentFactory(project=project),
    Library: make_library,
    Reindexing: lambda project: start_reindexing(project=project),
    Thread: lambda project: QuestionAnswerFactory(thread__project=project).thread,
    Erasure: lambda project: begin(Criterion(project.pk), asked_by="ada@example.com", announce=False),
    Category: lambda project: project.categories.first(),
    Taxonomy: lambda project: project.taxonomy,
    Run: lambda project: start_backfill(project_id=project.pk, actor=SHELL),
    Batch: lambda project: Batch.objects.create(worker="w"),
    ClassifierHealth: lambda project: ClassifierHealth.objects.create(classifier=unique("dummy-1")),
    PeriodicTask: make_periodic_task,
    Report: lambda project: make_report(project),
    ReportPreference: lambda project: ReportPreference.objects.create(user=UserFactory(), team=project.team),
    LogEntry: lambda project: LogEntry.objects.get(object_pk=str(project.pk), object_repr=project.name),
}
