from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from categorisation import services
from categorisation.classifiers import CategorySpec
from categorisation.models import Category, ClassifierHealth, LabelChange, PreviewThread, Run, Taxonomy
from categorisation.services import previews
from categorisation.services.planning import plan
from categorisation.services.streams import describe_draft
from categorisation.services.writing import write_sample
from config.celery import app
from query.models import Thread
from teams.models import Project
from tests.categorisation.conftest import SetEnvironment
from tests.categorisation.fakes import FakeClassifier, raising
from tests.categorisation.two_connections import on_another_connection, uncommitted_on_another_connection
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db

DRAFT = [{"title": "Coding"}, {"title": "Other", "examples": ["x"]}]


def by_word(question: str, categories: Any) -> str:
    return next((spec.id for spec in categories if spec.title.lower() in question), categories[-1].id)


def classifier_by_word() -> FakeClassifier:
    return FakeClassifier(by_word, before=raising(ValueError("no"), on="poison"))


@pytest.fixture(autouse=True)
def eager(set_environment: SetEnvironment) -> Iterator[None]:
    set_environment(
        classifier="tests.categorisation.test_previews.classifier_by_word",
        classification_pauses_s=(0, 0, 0, 0),
        backfill_batch_s=5,
    )
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def preview(api: APIClient, project: Project, sample_size: int = 100, draft: Any = DRAFT) -> dict[str, Any]:
    """The run's row after it has ended."""
    answer = api.post(
        f"/query/v1/projects/{project.pk}/categories/preview/", {"categories": draft, "sample_size": sample_size}
    )
    assert answer.status_code == 202
    for _ in range(8):
        plan()
    return api.get(f"/query/v1/projects/{project.pk}/categorisation/runs/{answer.json()['id']}/").json()


def threads(project: Project, *questions: str) -> list[Thread]:
    return [ThreadFactory(project=project, first_question=question) for question in questions]


def test_a_preview_tells_what_the_draft_would_make_of_a_sample_and_changes_nothing(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category
):
    coding, other, _, _ = threads(project, "coding?", "what?", "coding!", "poison")
    services.assign_label(project_id=project.pk, thread_id=coding.pk, category_id=discovery.pk)
    services.assign_label(project_id=project.pk, thread_id=other.pk, category_id=discovery.pk)
    before = list(Thread.objects.order_by("pk").values())
    changes = LabelChange.objects.count()

    row = preview(api, project)

    assert (row["kind"], row["state"], row["total"], row["done"], row["failed"]) == ("preview", "done", 4, 3, 1)
    result = row["result"]
    assert result["sample"] == 4
    assert result["failed"] == 1
    assert result["counts"] == [{"title": "Coding", "threads": 2}, {"title": "Other", "threads": 1}]
    assert result["table"] == [
        {"current": {"id": str(discovery.pk), "title": "Discovery"}, "draft": [1, 1]},
        {"current": None, "draft": [1, 0]},
    ]
    assert result["estimated_classifications"] == 2
    assert result["estimated_seconds"] >= 0
    assert list(Thread.objects.order_by("pk").values()) == before
    assert LabelChange.objects.count() == changes
    assert not PreviewThread.objects.exists()


def test_nothing_is_told_before_it_is_done(api: APIClient, project: Project):
    threads(project, "coding?")
    answer = api.post(f"/query/v1/projects/{project.pk}/categories/preview/", {"categories": DRAFT})
    assert (answer.json()["total"], answer.json()["result"]) == (1, None)
    url = f"/query/v1/projects/{project.pk}/categorisation/runs/{answer.json()['id']}/"
    run = Run.objects.get()
    services.runs.note_effort(run.pk, classified=1, busy_s=1.0)
    assert api.get(url).json()["result"] is None
    assert api.post(f"{url}cancel/").json()["result"] is None
    plan()
    assert not PreviewThread.objects.exists()


def test_a_project_without_threads_or_categories_can_be_previewed(api: APIClient, project: Project):
    for category in project.categories.all():
        services.delete_category(project_id=project.pk, category_id=category.pk)
    row = preview(api, project)
    assert (row["state"], row["total"]) == ("done", 0)
    assert row["result"]["estimated_seconds"] is None
    threads(project, "coding?")
    assert preview(api, project)["result"]["counts"][0]["threads"] == 1


def test_a_label_that_is_shown_is_the_current_one(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category
):
    hidden, moved = threads(project, "coding", "coding")
    third = services.create_category(project_id=project.pk, title="Third")
    services.assign_label(project_id=project.pk, thread_id=hidden.pk, category_id=discovery.pk)
    services.assign_label(project_id=project.pk, thread_id=moved.pk, category_id=third.pk)
    services.delete_category(project_id=project.pk, category_id=discovery.pk)
    services.delete_category(project_id=project.pk, category_id=third.pk, reassign_to=troubleshooting.pk)
    run = previews.start_preview(
        project_id=project.pk, actor=services.Actor("command", "x"), draft=DRAFT, sample_size=10
    )
    found = dict(run.sample.values_list("thread", "current_category"))
    assert found == {hidden.pk: None, moved.pk: troubleshooting.pk}


def test_one_question_is_estimated_once_and_a_persons_threads_not_at_all(project: Project, discovery: Category):
    decided, *_ = threads(project, "a", "b", "b", "c")
    services.assign_label(project_id=project.pk, thread_id=decided.pk, category_id=discovery.pk)
    threads(ProjectFactory(), "z")
    assert previews.count_classifications(project.pk) == 2


@pytest.mark.parametrize(("max_lanes", "seconds"), [(None, 20.0), (5, 40.0)])
def test_the_time_is_estimated_from_what_a_classification_took_and_the_lanes(
    project: Project, set_environment: SetEnvironment, max_lanes: int | None, seconds: float
):
    set_environment(backfill_lanes=10)
    Taxonomy.objects.filter(project=project).update(max_lanes=max_lanes)
    run = previews.start_preview(
        project_id=project.pk, actor=services.Actor("command", "x"), draft=DRAFT, sample_size=10
    )
    for _ in range(2):
        services.runs.note_effort(run.pk, classified=10, busy_s=20.0)
    assert previews.estimate_seconds(run, 100) == seconds


def test_one_that_is_cancelled_while_a_worker_writes_waits_for_nobody_and_its_sample_goes_later(
    transactional_db: None,
):
    project = ProjectFactory()
    (thread,) = threads(project, "coding")
    actor = services.Actor("command", "x")
    Taxonomy.objects.filter(project=project).update(is_enabled=False)  # nobody else sees to it
    run = previews.start_preview(project_id=project.pk, actor=actor, draft=DRAFT, sample_size=10)
    with uncommitted_on_another_connection(lambda: write_sample(run.pk, {thread.pk: 0})):
        on_another_connection(lambda: services.cancel_run(project_id=project.pk, run_id=run.pk, actor=actor))
        previews.forget_samples()
        assert run.sample.exists()
    plan()
    assert not PreviewThread.objects.exists()


def test_its_failures_are_not_held_against_the_threads_themselves(project: Project, set_environment: SetEnvironment):
    set_environment(backfill_batch_s=1)
    sample = threads(project, *[f"poison {number}" for number in range(8)])
    Thread.objects.filter(pk__in=[thread.pk for thread in sample]).update(classify_attempts=3)
    previews.start_preview(project_id=project.pk, actor=services.Actor("command", "x"), draft=DRAFT, sample_size=10)
    plan()
    assert ClassifierHealth.objects.get().openings == 1
    assert set(Thread.objects.values_list("classify_attempts", flat=True)) == {3}


@pytest.mark.parametrize("read_whole", [5_000, 3])
def test_a_sample_is_of_the_project_without_repetition_and_at_random(
    monkeypatch: pytest.MonkeyPatch, project: Project, read_whole: int
):
    monkeypatch.setattr(previews, "READ_WHOLE", read_whole)
    ours = {thread.pk for thread in ThreadFactory.create_batch(20, project=project)}
    ThreadFactory.create_batch(20, project=ProjectFactory())
    samples = [previews.choose_sample(project.pk, 5) for _ in range(10)]
    assert all(len(set(sample)) == 5 and set(sample) <= ours for sample in samples)
    assert len({frozenset(sample) for sample in samples}) > 1
    assert set(previews.choose_sample(project.pk, 500)) == ours


def test_the_classifier_reads_the_draft(api: APIClient, project: Project, set_environment: SetEnvironment):
    threads(project, "coding?")
    run = previews.start_preview(
        project_id=project.pk, actor=services.Actor("command", "x"), draft=DRAFT, sample_size=10
    )
    assert describe_draft(run).categories == (
        CategorySpec(id="0", title="Coding"),
        CategorySpec(id="1", title="Other", examples=("x",)),
    )
