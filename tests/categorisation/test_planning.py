"""Turns of the planner, each followed by what it sends: tasks run where they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from categorisation import services
from categorisation.models import Category, LabelChange, PreviewThread, Run, Taxonomy
from categorisation.services import Actor, emptying, planning, runs
from categorisation.services.history import SHELL
from categorisation.services.planning import Plan, plan
from categorisation.services.taxonomies import lock_taxonomy
from config.celery import app
from query.models import Thread
from schema.locks import session_lock
from teams.models import Project
from tests.categorisation.conftest import SetEnvironment
from tests.categorisation.fakes import FakeClassifier, raising
from tests.categorisation.two_connections import on_another_connection, uncommitted_on_another_connection
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

FAKE = "tests.categorisation.fakes.factory_of_fakes"
POISON = "tests.categorisation.test_planning.poisoned_classifier"
DAYS_AGO = timedelta(days=3)
KEY = Actor("key", "somebody")

pytestmark = pytest.mark.django_db


def poisoned_classifier() -> FakeClassifier:
    return FakeClassifier(before=raising(ValueError("no"), on="poison"))


@pytest.fixture(autouse=True)
def eager(set_environment: SetEnvironment) -> Iterator[None]:
    set_environment(classifier=FAKE, backfill_batch_s=5, classification_pauses_s=(0, 0, 0, 0), backfill_lanes=8)
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def old_threads(project: Project, number: int, **fields: Any) -> list[Thread]:
    return ThreadFactory.create_batch(number, project=project, created_at=timezone.now() - DAYS_AGO, **fields)


def sources(threads: list[Thread]) -> list[str | None]:
    rows = dict(Thread.objects.filter(pk__in=[row.pk for row in threads]).values_list("pk", "category_source"))
    return [rows[thread.pk] for thread in threads]


def turns(number: int = 3) -> list[Plan | None]:
    return [plan() for _ in range(number)]


def read(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def test_old_unlabelled_threads_start_a_backfill_that_labels_them_and_ends(project: Project):
    threads = old_threads(project, 5)
    young = ThreadFactory(project=project)

    first, second, third = turns()

    assert first is not None
    assert (first.started, first.finished, first.waiting) == (1, 0, 1)
    assert first.messages > 0
    assert second == Plan(0, 1, 0, 0)
    assert third == Plan(0, 0, 0, 0)
    run = Run.objects.get()
    assert (run.kind, run.state, run.started_by_kind) == ("backfill", "done", "beat")
    assert (run.total, run.done, run.failed) == (5, 5, 0)
    assert run.finished_at is not None
    assert sources(threads) == ["classifier"] * 5
    assert sources([young]) == [None]


@pytest.mark.parametrize("reason", ["off", "suspended", "no category", "given up", "open", "deletion"])
def test_a_backfill_starts_by_itself_only_where_it_makes_sense(project: Project, reason: str):
    (thread,) = old_threads(project, 1)
    match reason:
        case "off":
            Taxonomy.objects.filter(project=project).update(is_enabled=False)
        case "suspended":
            runs.cancel_run(
                project_id=project.pk, run_id=runs.start_backfill(project_id=project.pk, actor=SHELL).pk, actor=SHELL
            )
        case "no category":
            Category.objects.filter(project=project).update(deleted_at=timezone.now(), emptied_at=timezone.now())
        case "given up":
            Thread.objects.filter(pk=thread.pk).update(classify_attempts=5)
        case "open":
            runs.start_backfill(project_id=project.pk, actor=SHELL)
        case "deletion":
            services.delete_category(project_id=project.pk, category_id=project.categories.first().pk)
    assert planning.projects_due_for_backfill() == []
    old_threads(ProjectFactory(), 1)
    assert len(planning.projects_due_for_backfill()) == 1


def test_a_suspended_project_stays_so_until_someone_starts_one(project: Project):
    threads = old_threads(project, 2)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    runs.cancel_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    turns()
    assert sources(threads) == [None, None]
    runs.start_backfill(project_id=project.pk, actor=SHELL)
    turns()
    assert sources(threads) == ["classifier"] * 2


def test_a_suspension_that_comes_in_between_is_heeded(project: Project):
    Taxonomy.objects.filter(project=project).update(backfill_is_suspended=True)
    assert not runs.start_backfill_if_wanted(project.pk, KEY)
    assert not Run.objects.exists()


def test_a_limit_bounds_a_run(project: Project):
    threads = old_threads(project, 6)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL, limit=4)
    plan()
    assert read(run).total == 4
    assert sources(threads).count("classifier") == 4
    plan()
    assert (read(run).state, read(run).done) == ("done", 4)


def test_a_paused_run_does_nothing_and_is_not_ended(project: Project):
    threads = old_threads(project, 2)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    runs.pause_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    assert turns(2)[-1] == Plan(0, 0, 0, 0)
    assert sources(threads) == [None, None]
    runs.resume_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    turns()
    assert read(run).state == "done"
    assert sources(threads) == ["classifier"] * 2


def test_check_10_poison_is_given_up_counted_and_tried_again_by_a_person_alone(
    project: Project, set_environment: SetEnvironment
):
    set_environment(classifier=POISON)
    (poisoned,) = old_threads(project, 1, first_question="poison")
    others = old_threads(project, 3)
    turns(8)
    (run,) = Run.objects.all()
    assert (run.state, run.total, run.done, run.failed) == ("done", 4, 3, 1)
    assert sources([poisoned, *others]) == [None, *["classifier"] * 3]

    assert planning.projects_due_for_backfill() == []
    set_environment(classifier=FAKE)
    again = runs.start_backfill(project_id=project.pk, actor=KEY)
    turns()
    assert (read(again).total, read(again).done, read(again).failed) == (1, 1, 0)
    assert sources([poisoned]) == ["classifier"]


def test_what_people_decide_meanwhile_counts_as_done(project: Project, discovery: Category):
    threads = old_threads(project, 3)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    runs.note_total(run, lambda run: 3)
    for thread in threads:
        services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    plan()
    assert (read(run).state, read(run).total, read(run).done) == ("done", 3, 3)


def test_a_run_that_did_more_than_it_was_counted_for_tells_the_truth_at_its_end(project: Project):
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    Run.objects.filter(pk=run.pk).update(total=2, done=5, failed=1, measured_at=timezone.now())
    plan()
    assert (read(run).total, read(run).done, read(run).failed) == (6, 5, 1)


def test_a_deleted_categorys_threads_are_emptied_classified_anew_and_counted(
    project: Project, discovery: Category, troubleshooting: Category
):
    threads = [*old_threads(project, 3), ThreadFactory(project=project)]
    for thread in threads:
        services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    run = services.delete_category(project_id=project.pk, category_id=discovery.pk, actor=KEY)
    turns(4)
    assert (read(run).state, read(run).total, read(run).done) == ("done", 4, 4)
    assert set(Thread.objects.values_list("category", "category_source", "classify_run")) == {
        (troubleshooting.pk, "classifier", None)
    }
    history = LabelChange.objects.filter(thread=threads[0]).order_by("id")
    assert [(change.actor_kind, change.to_source) for change in history] == [
        ("command", "user"),
        ("key", None),
        ("classifier", "classifier"),
    ]
    assert [change.run for change in history] == [None, run, run]


def test_a_deletion_is_seen_to_in_a_suspended_project_too(
    project: Project, discovery: Category, troubleshooting: Category
):
    Taxonomy.objects.filter(project=project).update(backfill_is_suspended=True)
    freed, waiting = old_threads(project, 2)
    services.assign_label(project_id=project.pk, thread_id=freed.pk, category_id=discovery.pk)
    services.delete_category(project_id=project.pk, category_id=discovery.pk)
    turns(4)
    assert sources([freed, waiting]) == ["classifier", None]


def test_a_reassigned_categorys_run_ends_when_its_threads_are_moved(
    project: Project, discovery: Category, troubleshooting: Category
):
    (thread,) = old_threads(project, 1)
    services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    run = services.delete_category(
        project_id=project.pk, category_id=discovery.pk, reassign_to=troubleshooting.pk, actor=KEY
    )
    turns(2)
    assert (read(run).state, read(run).total, read(run).done) == ("done", 1, 1)
    assert sources([thread]) == ["user"]


@pytest.mark.parametrize("threads", [0, 2])
def test_the_last_categorys_run_ends_when_its_threads_are_free(project: Project, threads: int):
    first, second = project.categories.all()
    for thread in old_threads(project, threads):
        services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=second.pk)
    runs_of_deletion = [
        services.delete_category(project_id=project.pk, category_id=category.pk) for category in (first, second)
    ]
    turns(3)
    assert [read(run).state for run in runs_of_deletion] == ["done", "done"]
    assert [read(run).done for run in runs_of_deletion] == [0, threads]
    assert not Run.objects.filter(kind="backfill").exists()
    services.create_category(project_id=project.pk, title="New")
    turns()
    assert set(Thread.objects.values_list("category_source", flat=True)) == ({"classifier"} if threads else set())


def test_a_backfill_of_a_project_without_categories_does_nothing_and_says_so(project: Project):
    old_threads(project, 2)
    for category in project.categories.all():
        services.delete_category(project_id=project.pk, category_id=category.pk)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    turns()
    assert (read(run).state, read(run).total, read(run).done) == ("done", 0, 0)


def test_reclassifying_leaves_what_people_decided(
    project: Project, discovery: Category, troubleshooting: Category, set_environment: SetEnvironment
):
    threads = old_threads(project, 3)
    turns()
    services.assign_label(project_id=project.pk, thread_id=threads[0].pk, category_id=discovery.pk)
    services.change_category(project_id=project.pk, category_id=discovery.pk, changes={"title": "Other"})
    run = runs.start_reclassify(project_id=project.pk, actor=SHELL, scope="stale")
    turns()
    assert (read(run).state, read(run).total, read(run).done) == ("done", 2, 2)
    assert sources(threads) == ["user", "classifier", "classifier"]
    again = runs.start_reclassify(project_id=project.pk, actor=SHELL, scope="stale")
    turns()
    assert (read(again).state, read(again).total) == ("done", 0)


@pytest.mark.parametrize("scope", ["all", "stale", "category"])
@pytest.mark.parametrize("is_begun_first", [True, False])
def test_reclassifying_waits_for_threads_that_move_to_what_replaces_their_category(
    project: Project, discovery: Category, troubleshooting: Category, scope: str, is_begun_first: bool
):
    threads = old_threads(project, 3)
    turns()
    Thread.objects.update(category=discovery)
    services.assign_label(project_id=project.pk, thread_id=threads[0].pk, category_id=discovery.pk)
    category_id = troubleshooting.pk if scope == "category" else None

    def reclassify() -> Run:
        return runs.start_reclassify(project_id=project.pk, actor=SHELL, scope=scope, category_id=category_id)

    run = reclassify() if is_begun_first and scope != "stale" else None
    services.delete_category(project_id=project.pk, category_id=discovery.pk, reassign_to=troubleshooting.pk)
    run = run or reclassify()
    turns(4)
    assert (read(run).state, read(run).total, read(run).done) == ("done", 2, 2)
    version = Taxonomy.objects.get(project=project).version
    assert [read_version(thread) for thread in threads[1:]] == [version] * 2
    assert sources(threads) == ["user", "classifier", "classifier"]


def read_version(thread: Thread) -> int | None:
    return Thread.objects.get(pk=thread.pk).category_taxonomy_version


def test_check_08_two_planners_do_not_plan_at_once(transactional_db: None):
    project = ProjectFactory()
    old_threads(project, 1)
    with session_lock(planning.LOCK) as is_ours:
        assert is_ours
        assert on_another_connection(plan) is None
    assert not Run.objects.exists()
    assert plan() is not None
    with session_lock(planning.LOCK) as is_free_again:
        assert is_free_again


def test_a_project_that_somebody_has_locked_holds_up_no_other(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(planning, "LONGEST_WAIT_S", 0.05)
    locked, ending, other = (ProjectFactory() for _ in range(3))
    run = Run.objects.create(
        project=ending, kind="backfill", taxonomy_version=1, started_by="a test", started_by_kind="command"
    )
    for project in (locked, other):
        old_threads(project, 1)
    with (
        uncommitted_on_another_connection(lambda: lock_taxonomy(locked.pk)),
        uncommitted_on_another_connection(lambda: lock_taxonomy(ending.pk)),
    ):
        plan()
    assert list(Run.objects.exclude(pk=run.pk).values_list("project", flat=True)) == [other.pk]
    assert str(locked.pk) in caplog.text
    assert read(run).state == "running"
    plan()
    assert read(run).state == "done"


def test_the_pace_of_a_run_that_stands_still_is_not_known_after_a_while(project: Project):
    old_threads(project, 1)
    Taxonomy.objects.filter(project=project).update(is_enabled=False)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    Run.objects.filter(pk=run.pk).update(total=1000, done=100, measured_done=100, rate_per_s=20.0)
    paces = []
    while read(run).rate_per_s is not None:
        Run.objects.filter(pk=run.pk).update(measured_at=timezone.now() - timedelta(seconds=5))
        plan()
        paces.append(read(run).rate_per_s)
    assert 5 < len(paces) < 40
    assert read(run).eta_seconds is None


def test_what_comes_in_while_a_run_is_under_way_is_counted(project: Project):
    old_threads(project, 3)
    Taxonomy.objects.filter(project=project).update(is_enabled=False)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    plan()
    Run.objects.filter(pk=run.pk).update(done=3)
    plan()
    assert (read(run).total, read(run).state) == (6, "running")


def test_a_run_begins_by_the_databases_clock(project: Project, monkeypatch: pytest.MonkeyPatch):
    late = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(timezone, "now", lambda: late)
    run = runs.start_reclassify(project_id=project.pk, actor=SHELL, scope="all")
    assert read(run).started_at == run.started_at < late - timedelta(minutes=30)


def test_the_pace_is_measured_and_smoothed(project: Project):
    old_threads(project, 1)
    Taxonomy.objects.filter(project=project).update(is_enabled=False)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)

    def measure(done: int, seconds: int) -> Run:
        before = timezone.now() - timedelta(seconds=seconds)
        Run.objects.filter(pk=run.pk).update(total=1000, done=done, measured_at=before)
        plan()
        return read(run)

    assert measure(0, 10).rate_per_s is None
    assert measure(100, 10).rate_per_s == pytest.approx(10, rel=0.01)
    assert measure(300, 10).rate_per_s == pytest.approx(14, rel=0.01)
    assert measure(400, 1).rate_per_s == pytest.approx(14, rel=0.01)  # too soon to tell
    assert read(run).eta_seconds == pytest.approx(600 / 14, rel=0.01)


def test_nothing_is_sent_while_classification_is_switched_off_but_deletions_go_on(
    project: Project, discovery: Category, set_environment: SetEnvironment
):
    set_environment(classification_enabled=False)
    threads = old_threads(project, 2)
    services.assign_label(project_id=project.pk, thread_id=threads[0].pk, category_id=discovery.pk)
    services.delete_category(project_id=project.pk, category_id=discovery.pk)
    turns()
    assert sources(threads) == [None, None]
    assert not emptying.categories_to_empty().exists()


def test_a_run_that_cannot_be_tended_holds_up_no_other(project: Project, caplog: pytest.LogCaptureFixture):
    broken = Run.objects.create(
        project=project,
        kind="preview",
        draft=[{"nothing": "that a draft has"}],
        taxonomy_version=1,
        started_by="a test",
        started_by_kind="command",
    )
    PreviewThread.objects.create(run=broken, thread=ThreadFactory(project=project), draft_position=0)
    well = runs.start_backfill(project_id=project.pk, actor=SHELL)
    planning.plan()
    assert read(well).state == "done"
    assert str(broken.pk) in caplog.text
