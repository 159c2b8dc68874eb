"""Claims of runs and previews: what is claimed, given back, counted and tried again."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from categorisation import services
from categorisation.classifiers import Classification
from categorisation.models import Category, PreviewThread, ReclassifyScope, Run, RunKind, Taxonomy
from categorisation.selectors import TaxonomySnapshot
from categorisation.services import Outcome, claims, results
from categorisation.services.history import SHELL
from categorisation.services.streams import Done, Stream, Work
from categorisation.services.writing import NewLabel, write_labels
from query.models import MAX_ATTEMPTS, Thread
from teams.models import Project
from tests.categorisation.conftest import SetEnvironment
from tests.categorisation.two_connections import (
    started_on_another_connection,
    uncommitted_on_another_connection,
    wait_until_somebody_waits_for_a_lock,
)
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def old_thread(project: Project, **changes: Any) -> Thread:
    return ThreadFactory(project=project, **{"created_at": NOW - timedelta(days=2), **changes})


def make_run(project: Project, kind: RunKind = RunKind.BACKFILL, **changes: Any) -> Run:
    return Run.objects.create(
        project=project, kind=kind, taxonomy_version=1, started_by_kind="command", started_by="test", **changes
    )


def claimed(run: Run, limit: int = 100) -> set[uuid.UUID]:
    return {claim.thread_id for claim in claims.claim_for_run(run, limit)}


def test_a_backfill_claims_the_projects_old_unlabelled_threads(project: Project, discovery: Category):
    wanted = old_thread(project)
    ThreadFactory(project=project)  # young
    old_thread(ProjectFactory())
    old_thread(project, category=discovery, category_source="classifier", categorised_at=NOW)
    old_thread(project, category_source="user", categorised_at=NOW)
    old_thread(project, classify_after=NOW + timedelta(hours=1))
    old_thread(project, classify_attempts=MAX_ATTEMPTS, classify_after=claims.NEVER)
    assert claimed(make_run(project)) == {wanted.pk}


def test_a_deletions_run_claims_what_it_freed_whatever_its_age(project: Project):
    run = make_run(project, RunKind.CATEGORY_DELETED)
    freed = [old_thread(project, classify_run=run), ThreadFactory(project=project, classify_run=run)]
    old_thread(project)
    assert claimed(run) == {thread.pk for thread in freed}


@pytest.mark.parametrize("scope", list(ReclassifyScope))
def test_a_re_run_claims_the_classifiers_older_labels_in_its_scope(
    project: Project, discovery: Category, troubleshooting: Category, scope: ReclassifyScope
):
    def labelled(category: Category, **changes: Any) -> uuid.UUID:
        label = {"category_source": "classifier", "categorised_at": NOW, "category_taxonomy_version": 3, **changes}
        return old_thread(project, category=category, **label).pk

    current, stale = labelled(discovery), labelled(discovery, category_taxonomy_version=2)
    other = labelled(troubleshooting)
    labelled(discovery, category_source="user")
    labelled(discovery, categorised_at=timezone.now() + timedelta(minutes=1))  # by this very run
    old_thread(project)
    gone = Category.objects.create(project=project, title="Gone", deleted_at=NOW)
    labelled(gone)
    category = discovery if scope == ReclassifyScope.CATEGORY else None
    run = make_run(project, RunKind.RECLASSIFY, scope=scope, category=category)
    Run.objects.filter(pk=run.pk).update(taxonomy_version=3)
    run.refresh_from_db()

    expected = {"all": {current, stale, other}, "stale": {stale}, "category": {current, stale}}[scope]
    assert claims.count_threads(run) == len(expected)
    assert claimed(run) == expected
    assert claims.has_work_left(run)


def test_a_preview_claims_its_sample_and_leaves_the_threads_alone(project: Project, discovery: Category):
    run = make_run(project, RunKind.PREVIEW, draft=[{"title": "One"}])
    threads = ThreadFactory.create_batch(3, project=project)
    for thread in threads:
        PreviewThread.objects.create(run=run, thread=thread)
    before = set(Thread.objects.values_list("pk", "classify_after", "classify_attempts"))

    found = claims.claim_for_run(run, 2)
    assert {claim.preview_id for claim in found} == {run.pk}
    assert len(claims.claim_for_run(run, 5)) == 1
    claims.release(found[:1])
    claims.count_failures(found[1:])

    assert [claim.thread_id for claim in claims.claim_for_run(run, 5)] == [found[0].thread_id]
    assert sorted(run.sample.values_list("classify_attempts", flat=True)) == [0, 0, 1]
    assert set(Thread.objects.values_list("pk", "classify_after", "classify_attempts")) == before


def test_a_claim_touches_no_index(project: Project):
    """HOT: no column of an index changes."""
    old_thread(project)
    run = make_run(project)

    def count_updates() -> tuple[int, int]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_stat_get_xact_tuples_updated(id), pg_stat_get_xact_tuples_hot_updated(id)"
                " FROM (SELECT 'query_thread'::regclass AS id) thread"
            )
            return cursor.fetchone()

    updated, hot = count_updates()
    assert claimed(run)
    assert count_updates() == (updated + 1, hot + 1)


def test_two_claimers_get_different_threads_and_neither_waits(transactional_db: None):
    project = ProjectFactory()
    for _ in range(6):
        old_thread(project)
    run = make_run(project)
    first: list[set[uuid.UUID]] = []
    with uncommitted_on_another_connection(lambda: first.append(claimed(run, 3))), transaction.atomic():
        second = claimed(run, 6)
    assert len(first[0]) == len(second) == 3
    assert not first[0] & second


def test_what_is_left_counts_what_is_leased_or_pausing_but_not_what_was_given_up(project: Project):
    run = make_run(project)
    assert not claims.has_work_left(run)
    thread = old_thread(project)
    assert (claims.count_threads(run), claims.has_work_left(run)) == (1, True)
    claimed(run)
    assert claims.has_work_left(run)
    Thread.objects.filter(pk=thread.pk).update(classify_attempts=MAX_ATTEMPTS, classify_after=claims.NEVER)
    assert (claims.count_threads(run), claims.has_work_left(run)) == (0, False)
    assert claims.retry_given_up(run) == 1
    assert claims.retry_given_up(run) == 0
    assert claimed(run) == {thread.pk}


def test_a_run_whose_limit_is_claimed_waits_for_its_leases_alone(project: Project, set_environment: SetEnvironment):
    for _ in range(3):
        old_thread(project)
    run = make_run(project, limit=2)
    assert claims.count_threads(run) == 2
    assert len(claimed(run)) == 2
    assert claimed(run) == set()
    run.refresh_from_db()
    assert claims.has_work_left(run)
    Thread.objects.update(classify_after=timezone.now() - timedelta(seconds=1))
    assert not claims.has_work_left(run)


def test_what_is_given_back_or_died_with_its_worker_does_not_count_against_a_limit(project: Project):
    for _ in range(4):
        old_thread(project)
    run = make_run(project, limit=2)
    given_back, dead = claims.claim_for_run(run, 10)
    claims.release([given_back])
    run.refresh_from_db()
    claims.correct_claimed(run)
    assert run.claimed == 1
    assert len(claimed(run)) == 1

    Thread.objects.filter(pk=dead.thread_id).update(classify_after=timezone.now() - timedelta(seconds=1))
    run.refresh_from_db()
    claims.correct_claimed(run)
    assert claims.has_work_left(run)
    assert len(claimed(run)) == 1


def test_what_is_through_or_in_hand_counts_against_a_limit(project: Project):
    for _ in range(4):
        old_thread(project)
    run = make_run(project, limit=3)
    claims.claim_for_run(run, 2)
    Run.objects.filter(pk=run.pk).update(claimed=3, done=1)
    run.refresh_from_db()
    claims.correct_claimed(run)
    assert run.claimed == 3
    assert claimed(run) == set()


def test_an_attempt_is_given_back_to_threads_that_still_wait(project: Project, discovery: Category):
    waiting = old_thread(project, classify_attempts=1)
    decided = old_thread(project, classify_attempts=1, category=discovery, category_source="user", categorised_at=NOW)
    untouched = old_thread(project)
    given_up = old_thread(project, classify_attempts=MAX_ATTEMPTS, classify_after=claims.NEVER)
    everyone = [waiting.pk, decided.pk, untouched.pk, given_up.pk]
    claims.forgive_attempts(everyone, timedelta(minutes=1))
    for thread, attempts in ((waiting, 0), (decided, 1), (untouched, 0), (given_up, MAX_ATTEMPTS)):
        thread.refresh_from_db()
        assert thread.classify_attempts == attempts
    assert waiting.classify_after > timezone.now()


def test_nothing_is_claimed_while_it_is_switched_off(project: Project, set_environment: SetEnvironment):
    old_thread(project)
    ThreadFactory(project=project)
    set_environment(classification_enabled=False)
    assert claimed(make_run(project)) == set()
    assert claims.claim_young_threads(10, share=10) == []
    assert not claims.are_young_threads_due()


def test_young_threads_of_many_projects_are_claimed_by_shares(project: Project):
    ThreadFactory.create_batch(20, project=project)
    others = ThreadFactory.create_batch(2)
    off = ThreadFactory()
    Taxonomy.objects.filter(project=off.project).update(is_enabled=False)
    found = claims.claim_young_threads(20, share=5)
    assert len([claim for claim in found if claim.project_id == project.pk]) == 5
    assert {claim.thread_id for claim in found} >= {thread.pk for thread in others}
    assert off.pk not in {claim.thread_id for claim in found}


# -- writing ----------------------------------------------------------------------------------------------------------


def test_labels_are_written_only_where_nobody_decided_and_a_run_is_noted(
    project: Project, discovery: Category, troubleshooting: Category
):
    free, decided, labelled = (old_thread(project) for _ in range(3))
    foreign, gone = old_thread(ProjectFactory()), uuid.uuid4()
    deleted = Category.objects.create(project=project, title="Gone", deleted_at=NOW)
    dropped = old_thread(project)
    services.assign_label(project_id=project.pk, thread_id=decided.pk, category_id=None)
    write_labels(
        project.pk, [NewLabel(labelled.pk, troubleshooting.pk, 0.5)], taxonomy_version=1, classifier_version="a"
    )
    labels = [NewLabel(thread, discovery.pk, 0.5) for thread in (free.pk, decided.pk, labelled.pk, foreign.pk, gone)]

    written = write_labels(
        project.pk, [*labels, NewLabel(dropped.pk, deleted.pk, 0.5)], taxonomy_version=2, classifier_version="a"
    )

    assert written.superseded == {decided.pk, labelled.pk, foreign.pk, gone}
    assert written.dropped == {dropped.pk}
    rows = dict(Thread.objects.values_list("pk", "category_taxonomy_version"))
    assert [rows[thread.pk] for thread in (free, labelled, foreign, dropped)] == [2, 1, None, None]


def test_a_label_that_replaces_another_is_written_only_over_that_one(
    project: Project, discovery: Category, troubleshooting: Category
):
    def write(thread: Thread, category: Category, replaces: Category | None) -> bool:
        label = NewLabel(thread.pk, category.pk, 0.5, replaces.pk if replaces else None)
        return write_labels(project.pk, [label], taxonomy_version=1, classifier_version="a").is_complete

    thread = old_thread(project)
    assert not write(thread, discovery, troubleshooting)
    assert write(thread, discovery, None)
    assert not write(thread, troubleshooting, troubleshooting)
    assert write(thread, troubleshooting, discovery)
    services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=troubleshooting.pk, actor=SHELL)
    assert not write(thread, discovery, troubleshooting)


def test_two_bulk_writers_that_lock_each_others_rows_both_succeed(transactional_db: None):
    """One is ended by PostgreSQL as the victim of the deadlock, and comes again."""
    project = ProjectFactory()
    category = project.categories.first()
    assert category is not None
    low, high = sorted((old_thread(project).pk, old_thread(project).pk), key=lambda pk: pk.int)
    run = make_run(project)
    found = claims.claim_for_run(run, 2)
    stream = Stream(project.pk, TaxonomySnapshot(1, ()))
    done = [Done(Work(stream, claim), Classification(str(category.pk), 0.5)) for claim in found]

    def touch(thread_id: uuid.UUID) -> None:
        Thread.objects.filter(pk=thread_id).update(is_uncertain=True)

    def lock_in_the_other_order(first_is_locked: threading.Event) -> None:
        with transaction.atomic():
            touch(high)
            first_is_locked.set()
            wait_until_somebody_waits_for_a_lock()
            touch(low)

    is_locked = threading.Event()
    with started_on_another_connection(lambda: lock_in_the_other_order(is_locked)) as other:
        assert is_locked.wait(10)
        with connection.cursor() as cursor:
            cursor.execute("SET deadlock_timeout = '500ms'")  # this one finds the deadlock, and is its victim
        outcomes, _ = results.record(done, "a")
        other.result(20)
    with connection.cursor() as cursor:
        cursor.execute("RESET deadlock_timeout")

    assert outcomes == [Outcome.LABELLED] * 2
    assert Thread.objects.filter(is_uncertain=True, category=category).count() == 2
