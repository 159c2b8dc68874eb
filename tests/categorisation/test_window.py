"""Windows: many classifications at once, through runs, in one process."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from categorisation import services
from categorisation.errors import ClassifierUnavailable
from categorisation.lanes import Lanes
from categorisation.models import Category, LabelChange, ReclassifyScope, Run, RunState, Taxonomy
from categorisation.services import Outcome, claims
from categorisation.services.history import SHELL
from query.models import Thread
from teams.models import Project
from tests.categorisation.fakes import FakeClassifier, preferring, raising, titled
from tests.categorisation.windows import run_batch, sweep
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db
WAIT_S = 20.0


def old_threads(project: Project, count: int, **changes: Any) -> list[Thread]:
    created_at = timezone.now() - timedelta(days=30)
    return ThreadFactory.create_batch(count, project=project, created_at=created_at, **changes)


def start_backfill(project: Project, **changes: Any) -> Run:
    return services.start_backfill(project_id=project.pk, actor=SHELL, **changes)


class Gauge:
    """How many calls are under way: for `before` of a fake classifier."""

    def __init__(self, seconds: float = 0.01) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def __call__(self, questions: Any) -> None:
        name = questions[0].split()[0]
        with self._lock:
            self._now[name] += 1
            self.most[name] = max(self.most[name], self._now[name])
            self.most["all"] = max(self.most["all"], self._now.total())
        time.sleep(self._seconds)
        with self._lock:
            self._now[name] -= 1


def test_a_backfill_labels_old_threads_and_counts_them(project: Project, discovery: Category):
    threads = old_threads(project, 30)
    young = ThreadFactory(project=project)
    run = start_backfill(project)

    assert run_batch(FakeClassifier()) == {Outcome.LABELLED: 30}

    run.refresh_from_db()
    assert (run.done, run.failed, run.reused) == (30, 0, 0)
    assert Thread.objects.filter(category=discovery, category_source="classifier").count() == 30
    young.refresh_from_db()
    assert young.category_source is None
    change = LabelChange.objects.get(thread=threads[0])
    assert (change.from_source, change.to_category_id, change.run_id) == (None, discovery.pk, run.pk)
    assert (change.actor_kind, change.actor) == ("classifier", "fake-1")
    assert not claims.has_work_left(run)


def test_lanes_are_filled_and_never_more_than_that(project: Project):
    old_threads(project, 60)
    start_backfill(project)
    gauge = Gauge(0.05)
    run_batch(FakeClassifier(before=gauge), max_calls=6)
    assert gauge.most["all"] == 6


def test_check_13_no_lane_waits_at_a_barrier_for_a_slow_call(project: Project):
    """One call lasts as long as all the others together need in the other lanes."""
    old_threads(project, 100)
    ThreadFactory(project=project, first_question="slow", created_at=timezone.now() - timedelta(days=2))
    start_backfill(project)
    others_are_done = threading.Event()
    seen: list[str] = []

    def before(questions: list[str]) -> None:
        if questions == ["slow"]:
            assert others_are_done.wait(WAIT_S)
            return
        seen.append(questions[0])
        if len(seen) == 100:
            others_are_done.set()

    assert run_batch(FakeClassifier(before=before), max_calls=2) == {Outcome.LABELLED: 101}


def test_no_transaction_is_open_while_anything_computes(transactional_db: None):
    project = ProjectFactory()
    old_threads(project, 1)
    start_backfill(project)
    main, inside = connections["default"], []

    def look(questions: object) -> None:
        time.sleep(0.1)  # by now the main thread has nothing left to do but wait
        inside.append(main.in_atomic_block)

    run_batch(FakeClassifier(before=look))
    assert inside == [False]


def test_only_the_main_thread_uses_the_database(project: Project):
    old_threads(project, 20)
    start_backfill(project)
    used = []
    run_batch(FakeClassifier(before=lambda questions: used.append(connections["default"].connection)))
    assert used == [None] * 20


def test_little_is_in_hand_at_a_time(project: Project):
    old_threads(project, 100)
    start_backfill(project)
    in_hand = []

    def look() -> bool:
        in_hand.append(Thread.objects.filter(category=None, classify_after__gt=timezone.now()).count())
        return False

    run_batch(FakeClassifier(before=Gauge(0.5)), max_calls=4, claims_s=1.5, should_stop=look)

    # under way, waiting (what a second consumes), and ended but not written yet
    assert 4 < max(in_hand) <= 4 + 8 + 8


def test_projects_share_the_lanes_and_a_projects_bound_is_kept():
    first, second = ProjectFactory.create_batch(2)
    Taxonomy.objects.filter(project=second).update(max_lanes=2)
    for project, name in ((first, "first"), (second, "second")):
        for number in range(40):
            old_threads(project, 1, first_question=f"{name} {number}")
        start_backfill(project)
    gauge = Gauge(0.02)

    assert run_batch(FakeClassifier(before=gauge), max_calls=6) == {Outcome.LABELLED: 80}

    assert gauge.most["second"] == 2
    assert gauge.most["first"] >= 4


def test_a_run_with_a_limit_claims_no_more(project: Project):
    old_threads(project, 20)
    run = start_backfill(project, limit=7)
    assert run_batch(FakeClassifier()) == {Outcome.LABELLED: 7}
    run.refresh_from_db()
    assert (run.claimed, run.done) == (7, 7)
    assert not claims.has_work_left(run)


def test_the_newest_threads_come_first(project: Project):
    now = timezone.now()
    for age in (5, 3, 9, 2, 7):
        ThreadFactory(project=project, first_question=str(age), created_at=now - timedelta(days=age))
    start_backfill(project)
    classifier = FakeClassifier()
    run_batch(classifier, lanes=Lanes(1), max_calls=1)
    assert [call[0] for call in classifier.calls] == ["2", "3", "5", "7", "9"]


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.CANCELLED])
def test_a_run_that_does_not_run_claims_nothing(project: Project, state: RunState):
    old_threads(project, 3)
    run = start_backfill(project)
    finished_at = timezone.now() if state == RunState.CANCELLED else None
    Run.objects.filter(pk=run.pk).update(state=state, finished_at=finished_at)
    assert run_batch(FakeClassifier()) == {}


def test_a_pause_is_heeded_while_a_batch_is_at_work(project: Project):
    old_threads(project, 60)
    run = start_backfill(project)
    started = threading.Event()

    def before(questions: list[str]) -> None:
        started.set()
        time.sleep(0.05)

    def pause_once_it_is_under_way() -> bool:
        if started.is_set() and not Run.objects.filter(state=RunState.PAUSED).exists():
            services.pause_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
        return False

    outcomes = run_batch(FakeClassifier(before=before), max_calls=2, should_stop=pause_once_it_is_under_way)
    assert 0 < outcomes[Outcome.LABELLED] < 60
    assert claims.has_work_left(run)


def test_a_re_run_keeps_the_old_label_until_the_new_one_is_written(
    project: Project, discovery: Category, troubleshooting: Category
):
    threads = old_threads(project, 3)
    run_of = start_backfill(project)
    run_batch(FakeClassifier())
    Run.objects.filter(pk=run_of.pk).update(state=RunState.DONE, finished_at=timezone.now())
    services.assign_label(project_id=project.pk, thread_id=threads[0].pk, category_id=discovery.pk)
    services.start_reclassify(project_id=project.pk, actor=SHELL, scope=ReclassifyScope.ALL)
    sources = []

    def look() -> bool:
        sources.append(set(Thread.objects.values_list("category_source", flat=True)))
        return False

    classifier = FakeClassifier(preferring(troubleshooting.pk))
    assert run_batch(classifier, should_stop=look) == {Outcome.LABELLED: 2}
    assert all(seen == {"user", "classifier"} for seen in sources)
    assert sorted(Thread.objects.values_list("category__title", "category_source")) == [
        ("Discovery", "user"),
        ("Troubleshooting", "classifier"),
        ("Troubleshooting", "classifier"),
    ]
    changes = LabelChange.objects.filter(thread=threads[1]).order_by("id")
    assert [(change.from_category, change.to_category) for change in changes] == [
        (None, discovery),
        (discovery, troubleshooting),
    ]


def test_a_re_run_that_changes_nothing_leaves_no_trace_in_the_history(project: Project):
    old_threads(project, 3)
    run = start_backfill(project)
    run_batch(FakeClassifier())
    Run.objects.filter(pk=run.pk).update(state=RunState.DONE, finished_at=timezone.now())
    services.start_reclassify(project_id=project.pk, actor=SHELL, scope=ReclassifyScope.ALL)
    assert run_batch(FakeClassifier()) == {Outcome.LABELLED: 3}
    assert run_batch(FakeClassifier()) == {}
    assert LabelChange.objects.count() == 3


# -- same questions ---------------------------------------------------------------------------------------------------


def test_a_question_is_classified_once_however_many_threads_have_it(project: Project):
    old_threads(project, 25, first_question="How do I reset it?")
    old_threads(project, 5)
    run = start_backfill(project)
    classifier = FakeClassifier()

    assert run_batch(classifier) == {Outcome.LABELLED: 30}

    assert len(classifier.calls) == 6
    run.refresh_from_db()
    assert (run.done, run.reused) == (30, 24)


def test_a_twin_that_an_earlier_batch_labelled_in_this_run_is_reused(project: Project, troubleshooting: Category):
    old_threads(project, 1, first_question="How do I reset it?")
    run = start_backfill(project)
    run_batch(FakeClassifier(titled("Troubleshooting")))
    late = old_threads(project, 1, first_question="How do I reset it?")[0]
    classifier = FakeClassifier()

    assert run_batch(classifier) == {Outcome.LABELLED: 1}

    assert classifier.calls == []
    late.refresh_from_db()
    assert late.category == troubleshooting
    run.refresh_from_db()
    assert run.reused == 1


@pytest.mark.parametrize("what", ["an older run", "an older taxonomy", "a person", "another project"])
def test_no_twin_is_reused_that_says_nothing_of_this_run(project: Project, discovery: Category, what: str):
    twin = old_threads(ProjectFactory() if what == "another project" else project, 1, first_question="Same?")[0]
    services.label_thread(twin.pk, FakeClassifier())
    if what == "an older taxonomy":
        Taxonomy.objects.filter(project=project).update(version=9)
    if what == "a person":
        services.assign_label(project_id=project.pk, thread_id=twin.pk, category_id=discovery.pk)
    run = start_backfill(project)
    if what != "an older run":
        Run.objects.filter(pk=run.pk).update(started_at=timezone.now() - timedelta(days=1))
    old_threads(project, 1, first_question="Same?")
    classifier = FakeClassifier()
    assert run_batch(classifier)[Outcome.LABELLED] >= 1
    assert classifier.calls[-1] == ["Same?"]


def test_threads_with_the_question_of_one_that_failed_wait_without_an_attempt(project: Project):
    old_threads(project, 4, first_question="poison")
    start_backfill(project)
    classifier = FakeClassifier(before=raising(ValueError("no")))
    assert run_batch(classifier) == {Outcome.FAILED: 1, Outcome.POSTPONED: 3}
    assert sorted(Thread.objects.values_list("classify_attempts", flat=True)) == [0, 0, 0, 1]
    assert len(classifier.calls) == 1


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_batch_whose_time_is_over_hands_over_before_it_drains(project: Project):
    old_threads(project, 40)
    start_backfill(project)
    order: list[str] = []

    def before(questions: object) -> None:
        time.sleep(2)
        order.append("ended")

    outcomes = run_batch(
        FakeClassifier(before=before), max_calls=4, claims_s=1.0, send_successor=lambda: order.append("successor")
    )

    assert order == ["successor", *["ended"] * 4]
    assert outcomes == {Outcome.LABELLED: 4}
    due = Thread.objects.filter(category=None, classify_after__lte=timezone.now())
    assert due.count() == 36


def test_check_11_a_call_that_never_ends_is_given_up_in_time_and_counts_as_a_failure(project: Project):
    old_threads(project, 3)
    start_backfill(project)
    never = threading.Event()
    begun = time.monotonic()
    outcomes = run_batch(FakeClassifier(before=lambda questions: never.wait(60)), claims_s=0.2, drains_s=0.3)
    assert time.monotonic() - begun < 30
    assert outcomes == {Outcome.FAILED: 3}
    assert set(Thread.objects.values_list("classify_attempts", flat=True)) == {1}
    never.set()


def test_a_worker_that_is_shut_down_gives_back_what_has_not_begun(project: Project):
    old_threads(project, 40)
    start_backfill(project)
    stopping, both_have_begun = threading.Event(), threading.Barrier(2)

    def before(questions: object) -> None:
        both_have_begun.wait(WAIT_S)
        stopping.set()
        time.sleep(0.1)

    outcomes = run_batch(FakeClassifier(before=before), max_calls=2, should_stop=stopping.is_set)

    assert outcomes == {Outcome.LABELLED: 2}
    assert Thread.objects.filter(category=None, classify_after__lte=timezone.now(), classify_attempts=0).count() == 38


def test_a_window_without_a_free_lane_waits_for_one(project: Project):
    old_threads(project, 3)
    start_backfill(project)
    lanes, occupied = Lanes(1), threading.Event()
    lanes.submit(lambda: occupied.wait(WAIT_S), lambda _: None)
    threading.Timer(0.3, occupied.set).start()
    assert run_batch(FakeClassifier(), lanes=lanes) == {Outcome.LABELLED: 3}


def test_a_classifier_of_many_questions_gets_them_and_no_more_calls_than_it_gains_from(project: Project):
    old_threads(project, 50)
    start_backfill(project)
    gauge = Gauge(0.02)
    classifier = FakeClassifier(before=gauge)
    run_batch(classifier, questions_per_call=10, calls_at_once=2)
    assert gauge.most["all"] == 2
    assert Counter(len(call) for call in classifier.calls) == {10: 5}


def test_a_live_window_hands_over_after_its_time(project: Project):
    ThreadFactory.create_batch(10, project=project)
    handed_over = []
    outcomes = sweep(
        FakeClassifier(before=Gauge(2)), max_calls=2, claims_s=1.0, send_successor=lambda: handed_over.append(True)
    )
    assert outcomes == {Outcome.LABELLED: 2}
    assert handed_over == [True]


def test_a_classifier_that_is_down_leaves_the_live_window_at_once(project: Project):
    ThreadFactory.create_batch(3, project=project)
    down = FakeClassifier(before=raising(ClassifierUnavailable("down", retry_after_s=0)))
    assert sweep(down, questions_per_call=32) == {Outcome.POSTPONED: 3}
    assert sweep(down) == {}
    assert len(down.calls) == 1
