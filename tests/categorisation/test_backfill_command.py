from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from categorisation.models import ClassifierHealth, Run, Taxonomy
from categorisation.services import progress, runs
from categorisation.services.history import SHELL
from categorisation.services.progress import Obstacle
from config.celery import app
from query.models import Thread
from teams.models import Project
from tests.categorisation.conftest import SetEnvironment
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.plugin import Worker, _test_database_url, neighbours

pytestmark = pytest.mark.django_db
FAKE = "tests.categorisation.fakes.factory_of_fakes"
POISON = "tests.categorisation.test_planning.poisoned_classifier"


@pytest.fixture
def eager(set_environment: SetEnvironment) -> Iterator[None]:
    """Tasks run where they are sent: no broker, no worker."""
    set_environment(classifier=FAKE, backfill_batch_s=5, classification_pauses_s=(0, 0, 0, 0), planner_interval_s=0.01)
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def started(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    command = neighbours.command(
        "backfill",
        [sys.executable, "-u", "manage.py", "backfill", *arguments],
        {"DATABASE_URL": _test_database_url(), **environment},
    )
    return subprocess.Popen(
        command.argv,
        env=command.environment,
        cwd=command.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # who runs the tests in the background has them ignore interrupts, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def backfill(*arguments: str) -> str:
    out = StringIO()
    call_command("backfill", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def old_threads(project: Project, number: int, **fields: Any) -> list[Thread]:
    return ThreadFactory.create_batch(number, project=project, created_at=timezone.now() - timedelta(days=3), **fields)


def labelled(project: Project) -> int:
    return Thread.objects.filter(project=project, category_source="classifier").count()


def test_it_labels_every_project_with_work_and_tells_how_many(eager: None, project: Project):
    old_threads(project, 3)
    old_threads(project, 2, first_question="the same")
    other = ProjectFactory(name="Other")
    old_threads(other, 1)
    ThreadFactory(project=ProjectFactory(name="Young"))

    told = backfill("--wait")

    assert labelled(project) == 5
    assert labelled(other) == 1
    assert "6 done, 1 of them by the label of an identical question; 0 given up." in told
    assert "Young" not in told
    assert {run.started_by for run in Run.objects.all()} == {"manage.py backfill"}
    assert backfill("--wait") == "There is nothing to do.\n"


def test_only_the_projects_that_are_named(eager: None, project: Project):
    other, third = ProjectFactory(), ProjectFactory()
    for each in (project, other, third):
        old_threads(each, 1)
    backfill("--project", str(project.pk), "--project", str(other.pk), "--project", str(project.pk), "--wait")
    assert [labelled(each) for each in (project, other, third)] == [1, 1, 0]


def test_a_limit_holds_for_each_project(eager: None, project: Project):
    old_threads(project, 4)
    assert "3 done" in backfill("--limit", "3", "--wait")
    assert labelled(project) == 3


def test_a_limit_lets_a_suspension_stand_so_that_the_rest_does_not_follow(eager: None, project: Project):
    old_threads(project, 4)
    Taxonomy.objects.filter(project=project).update(backfill_is_suspended=True)
    backfill("--project", str(project.pk), "--limit", "3", "--wait")
    assert Taxonomy.objects.get(project=project).backfill_is_suspended
    backfill("--project", str(project.pk), "--wait")
    assert not Taxonomy.objects.get(project=project).backfill_is_suspended


def test_a_dry_run_tells_and_does_nothing(eager: None, project: Project):
    threads = old_threads(project, 4)
    Thread.objects.filter(pk=threads[0].pk).update(classify_attempts=5)
    told = backfill("--dry-run", "--limit", "2")
    assert f"{project} ({project.pk}): 2 of 4 unlabelled conversations would be classified" in told
    assert "1 of the 4 were given up before" in told
    assert not Run.objects.exists()
    assert backfill("--dry-run", "--project", str(ProjectFactory().pk)).count("0 of 0") == 1


def test_without_wait_the_run_is_begun_and_left_to_the_workers(
    project: Project, set_environment: SetEnvironment, broker: str
):
    set_environment(classifier=FAKE)
    old_threads(project, 1)
    told = backfill("--project", str(project.pk))
    run = Run.objects.get()
    assert f"run {run.pk} is begun." in told
    assert (run.state, run.total) == ("running", 1)


def test_an_open_run_is_joined(eager: None, project: Project):
    old_threads(project, 2)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    told = backfill("--wait", "--limit", "1")
    assert f"run {run.pk} is joined; it has no limit." in told
    assert labelled(project) == 2
    assert Run.objects.count() == 1


def test_a_paused_run_that_is_named_is_refused_before_anything_is_begun(eager: None, project: Project):
    other = ProjectFactory(name="Another")
    for each in (project, other):
        old_threads(each, 1)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    runs.pause_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    with pytest.raises(CommandError, match="is paused"):
        backfill("--project", str(other.pk), "--project", str(project.pk), "--wait")
    assert Run.objects.count() == 1


def test_a_paused_run_of_one_project_keeps_no_other_from_its_backfill(eager: None, project: Project):
    others = [ProjectFactory(name="Another"), ProjectFactory(name="Zebra")]
    for each in (project, *others):
        old_threads(each, 1)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    runs.pause_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    told = backfill("--wait")
    assert f"run {run.pk} is paused" in told
    assert "2 done" in told
    assert [labelled(each) for each in (project, *others)] == [0, 1, 1]


def test_it_starts_what_somebody_cancelled(eager: None, project: Project):
    old_threads(project, 1)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    runs.cancel_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    backfill("--wait")
    assert labelled(project) == 1
    assert not Taxonomy.objects.get(project=project).backfill_is_suspended


def test_threads_that_are_given_up_are_an_error_and_tried_again_next_time(
    eager: None, project: Project, set_environment: SetEnvironment
):
    set_environment(classifier=POISON)
    old_threads(project, 2)
    old_threads(project, 1, first_question="poison")
    with pytest.raises(CommandError, match="1 conversations were given up"):
        backfill("--wait")
    assert labelled(project) == 2
    set_environment(classifier=FAKE)
    assert "1 done" in backfill("--wait")


@pytest.mark.parametrize("project_id", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_project_is_refused(project_id: str):
    with pytest.raises(CommandError, match="There is no project"):
        backfill("--project", project_id)


@pytest.mark.parametrize("limit", ["0", "-1", "many", "99999999999"])
def test_a_limit_that_is_none_is_refused(limit: str):
    with pytest.raises(CommandError, match="limit"):
        backfill("--limit", limit)


def test_what_is_switched_off_is_told(project: Project, set_environment: SetEnvironment):
    Taxonomy.objects.filter(project=project).update(is_enabled=False)
    with pytest.raises(CommandError, match="switched off for Bot"):
        backfill("--project", str(project.pk))
    set_environment(classification_enabled=False)
    with pytest.raises(CommandError, match="switched off for all"):
        backfill()


def test_a_project_without_categories_is_refused(project: Project):
    project.categories.all().delete()
    with pytest.raises(CommandError, match="has no categories"):
        backfill("--project", str(project.pk))


def test_a_run_that_is_cancelled_meanwhile_is_an_error(eager: None, project: Project):
    Taxonomy.objects.filter(project=project).update(is_enabled=False)
    old_threads(project, 1)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    seen = progress.watch([run.pk], look_every_s=0)
    assert next(seen).open_runs == 1
    runs.cancel_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    assert [each.open_runs for each in seen] == [0]


def test_a_pause_is_told_after_a_while(eager: None, project: Project):
    old_threads(project, 1)
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    runs.pause_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    seen = progress.watch([run.pk], look_every_s=0, stalled_after_s=0, asked_every_s=0)
    assert next(seen).obstacle is None
    assert next(seen).obstacle is Obstacle.PAUSED


def test_it_is_told_that_classification_is_switched_off(project: Project, set_environment: SetEnvironment):
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    Taxonomy.objects.update(is_enabled=False)
    assert progress.find_obstacle([run]) is Obstacle.SWITCHED_OFF
    Taxonomy.objects.update(is_enabled=True)
    set_environment(classification_enabled=False)
    assert progress.find_obstacle([run]) is Obstacle.SWITCHED_OFF


@pytest.mark.ci
@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_it_is_told_when_no_backfill_worker_answers(celery_worker: Callable[..., Worker], project: Project):
    run = runs.start_backfill(project_id=project.pk, actor=SHELL)
    assert progress.find_obstacle([run]) is Obstacle.NO_WORKER
    celery_worker(queues="live")
    assert progress.find_obstacle([run]) is Obstacle.NO_WORKER
    celery_worker(queues="backfill")
    assert progress.find_obstacle([run]) is Obstacle.WAITING
    ClassifierHealth.objects.create(classifier="x", open_until=timezone.now() + timedelta(minutes=1))
    assert progress.find_obstacle([run]) is Obstacle.CLASSIFIER


@pytest.mark.django_db(transaction=True)
def test_it_is_told_when_the_broker_does_not_answer(project: Project):
    old_threads(project, 1)
    with started(CELERY_BROKER_URL="redis://127.0.0.1:1/0") as process:
        out, told = process.communicate(timeout=60)
    assert process.returncode == 0
    run = Run.objects.get()
    assert f"run {run.pk} is begun." in out
    assert "The broker does not answer." in told
    assert run.total == 1
    assert progress.find_obstacle([run], broker_answers=False) is Obstacle.BROKER


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_with_a_worker_and_without_beat_it_labels_the_past(celery_worker: Callable[..., Worker], project: Project):
    old_threads(project, 40)
    celery_worker(
        queues="backfill", concurrency=2, environment={"CLASSIFIER": "dummy", "DUMMY_CLASSIFIER_SECONDS": "0.1"}
    )
    assert "40 done" in backfill("--wait")
    assert labelled(project) == 40


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_an_interrupt_leaves_the_run_and_says_so(broker: str, project: Project):
    old_threads(project, 2)
    with started("--wait") as process:
        assert process.stdout is not None
        assert "is begun" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "goes on in the background" in told
    assert Run.objects.get().state == "running"
