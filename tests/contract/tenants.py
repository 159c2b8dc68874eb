"""Two customers of the service, each with one of everything, whose texts tell whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from django.apps import apps
from django.db.models import Model
from django.utils import timezone

import knowledge.composition
from categorisation.models import ActorKind
from categorisation.services import Actor, delete_category
from knowledge.models import Reindexing
from query.models import Thread
from teams.models import Project
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory, TeamFactory

WORD = "zebrafish"  # in everybody's texts, to search for
OWN, FOREIGN = "ownsecret", "foreignsecret"  # beside it, in one tenant's alone


@dataclass(frozen=True, slots=True)
class Tenant:
    """A project with one of everything. `ids` are the ids that stand in paths, by the names of their parameters."""

    project: Project
    ids: Mapping[str, UUID]


def make_tenant(secret: str) -> Tenant:
    """A tenant in whose every text `secret` stands."""
    text = f"{WORD} {secret}"
    project = ProjectFactory(name=text, team=TeamFactory(name=text))
    category = project.categories.create(title=text, description=text, examples=[text])
    thread = _make_thread(project, text, secret)
    Thread.objects.filter(pk=thread.pk).update(category=category, category_source="user", categorised_at=timezone.now())
    document = DocumentFactory(
        project=project,
        external_id=f"{WORD}.md",
        title=text,
        source_url=f"https://{secret}.example.com/",
        content=f"# {text}\n\nAll about {text}.",
        metadata={"owner": WORD, "note": secret},
    )
    knowledge.composition.indexer().index(document.pk)
    Reindexing.objects.create(project=project, state="done", finished_at=timezone.now())
    gone = project.categories.create(title=f"Gone {text}")
    run = delete_category(project_id=project.pk, category_id=gone.pk, actor=Actor(ActorKind.COMMAND, text))
    ids = {
        "project_id": project.pk,
        "thread_id": thread.pk,
        "category_id": category.pk,
        "run_id": run.pk,
        "document_id": document.pk,
    }
    return Tenant(project, ids)


def _make_thread(project: Project, text: str, secret: str) -> Thread:
    thread = ThreadFactory(
        project=project,
        first_question=text,
        user_email=f"{secret}@example.com",
        user_unique_client_id=secret,
        user_metadata={"note": secret},
        origin_url=f"https://{secret}.example.com/",
        external_id=WORD,
    )
    source = {"title": text, "source_url": f"https://{secret}.example.com/", "snippet": text}
    QuestionAnswerFactory(thread=thread, question=text, answer=text, relevant_sources=[source])
    return thread


def ids_of_nobody(tenant: Tenant) -> dict[str, UUID]:
    """Ids that no row has."""
    return {name: uuid4() for name in tenant.ids}


def rows_of(tenant: Tenant) -> dict[str, list[str]]:
    """Every row of every table that names one of the tenant's ids, as text."""
    ids = {str(each) for each in tenant.ids.values()}
    return {model._meta.db_table: _rows_that_name(model, ids) for model in _own_models()}


def _own_models() -> list[type[Model]]:
    return [model for model in apps.get_models() if not model.__module__.startswith("django.")]


def _rows_that_name(model: type[Model], ids: set[str]) -> list[str]:
    rows = [row for row in model._base_manager.values() if any(str(value) in ids for value in row.values())]
    return sorted(map(repr, rows))
