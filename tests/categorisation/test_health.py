"""Outages and poison, through windows: what is given up, and what is not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from categorisation import services
from categorisation.errors import ClassifierError, ClassifierUnavailable
from categorisation.models import ClassifierHealth, Run
from categorisation.services import Outcome, claims, health
from categorisation.services.breaker import PROBES, Observation
from categorisation.services.history import SHELL
from query.models import MAX_ATTEMPTS, Thread
from teams.models import Project
from tests.categorisation.conftest import SetEnvironment
from tests.categorisation.fakes import FakeClassifier, raising
from tests.categorisation.windows import run_batch, sweep
from tests.factories.query import ThreadFactory

pytestmark = pytest.mark.django_db
DOWN = raising(ClassifierError("the provider answers 500"))


def old_threads(project: Project, count: int, **changes: object) -> list[Thread]:
    return ThreadFactory.create_batch(count, project=project, created_at=timezone.now() - timedelta(days=2), **changes)


@pytest.fixture
def run(project: Project) -> Run:
    return services.start_backfill(project_id=project.pk, actor=SHELL)


def let_time_pass() -> None:
    """Every pause and lease is over."""
    past = timezone.now() - timedelta(seconds=1)
    Thread.objects.exclude(classify_after=claims.NEVER).update(classify_after=past)
    ClassifierHealth.objects.exclude(open_until=None).update(open_until=past)


def test_an_outage_gives_up_nothing_however_long(project: Project, run: Run):
    old_threads(project, 30)
    for _ in range(20):
        run_batch(FakeClassifier(before=DOWN))
        let_time_pass()
    assert set(Thread.objects.values_list("classify_attempts", flat=True)) == {0}
    run.refresh_from_db()
    assert run.failed == 0

    outcomes = run_batch(FakeClassifier())
    while Thread.objects.filter(category=None).exists():
        let_time_pass()
        outcomes += run_batch(FakeClassifier())

    assert outcomes == {Outcome.LABELLED: 30}
    assert ClassifierHealth.objects.get().openings == 0


def test_while_it_is_open_nothing_is_claimed_by_anybody(project: Project, run: Run):
    old_threads(project, 10)
    young = ThreadFactory(project=project)
    run_batch(FakeClassifier(before=DOWN))
    let_time_pass()
    ClassifierHealth.objects.update(open_until=timezone.now() + timedelta(minutes=1))
    idle = FakeClassifier()
    assert (run_batch(idle), sweep(idle)) == ({}, {})
    assert services.label_thread(young.pk, idle) is Outcome.NOT_CLAIMED
    assert idle.calls == []


def test_then_a_few_are_tried_at_a_time(project: Project, run: Run):
    old_threads(project, 50)
    run_batch(FakeClassifier(before=DOWN), max_calls=20, questions_per_call=10)
    let_time_pass()
    probed = FakeClassifier(before=DOWN)
    run_batch(probed, max_calls=20, questions_per_call=10)
    assert 1 <= len(probed.calls) <= PROBES
    assert {len(call) for call in probed.calls} == {1}


def test_a_classifier_that_is_unavailable_counts_no_attempt_and_is_left_alone(project: Project, run: Run):
    old_threads(project, 30)
    down = FakeClassifier(before=raising(ClassifierUnavailable("down", retry_after_s=7)))
    assert set(run_batch(down, max_calls=4)) == {Outcome.POSTPONED}
    assert len(down.calls) <= 8
    assert set(Thread.objects.values_list("classify_attempts", flat=True)) == {0}
    assert "down" not in ClassifierHealth.objects.get().last_error  # it may bear what was asked


@pytest.mark.parametrize("count", [1, 4])
def test_check_10_poison_is_given_up_also_when_nothing_else_is_there(project: Project, run: Run, count: int):
    old_threads(project, count)
    poisoned = FakeClassifier(before=DOWN)
    for _ in range(MAX_ATTEMPTS + 1):
        run_batch(poisoned)
        let_time_pass()
    assert set(Thread.objects.values_list("classify_after", flat=True)) == {claims.NEVER}
    assert len(poisoned.calls) == count * MAX_ATTEMPTS
    run.refresh_from_db()
    assert run.failed == count
    assert not claims.has_work_left(run)

    claims.retry_given_up(run)
    assert run_batch(FakeClassifier()) == {Outcome.LABELLED: count}


def test_check_10_poison_among_others_is_given_up_and_the_others_are_labelled(project: Project, run: Run):
    for number in range(10):
        old_threads(project, 6)
        old_threads(project, 1, first_question=f"poison {number}")
    old_threads(project, 6)
    classifier = FakeClassifier(before=raising(ValueError("boom"), on="poison"))
    for _ in range(MAX_ATTEMPTS + 3):
        run_batch(classifier, max_calls=4)
        let_time_pass()
    assert Thread.objects.filter(category_source="classifier").count() == 66
    assert Thread.objects.filter(classify_attempts=MAX_ATTEMPTS).count() == 10
    run.refresh_from_db()
    assert (run.done, run.failed) == (66, 10)


def test_pauses_are_the_settings(set_environment: SetEnvironment):
    set_environment(breaker_pauses_s=(100.0,))
    seen = Observation(unavailable_for=timedelta(0))
    state = health.observe("fake-1", seen).state
    assert state.open_until is not None
    assert timedelta(seconds=90) < state.open_until - timezone.now() <= timedelta(seconds=100)


def test_all_is_well_writes_nothing():
    health.observe("fake-1", Observation(successes=100))
    assert not ClassifierHealth.objects.exists()
