"""Conversations that are erased are gone: all that meet the criterion, no other, and nothing of them is left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import ForeignKey, Model
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from categorisation import services as labels
from categorisation.models import LabelChange, PreviewThread
from query import erasing, services, tasks
from query.agent import Answer, Timings
from query.criteria import Criterion
from query.errors import ErasureIsOver, ThreadNotFound
from query.models import Erasure, QuestionAnswer, Thread
from teams.models import Project
from tests.categorisation.two_connections import on_another_connection, uncommitted_on_another_connection
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MARK = "marzipan"
EMAILS = ["", "ada@example.com", "Ada@Example.COM", "bob@example.com"]
CLIENT_IDS = ["", "42", "43"]


def make_thread(project: Project, **fields: Any) -> Thread:
    """A conversation of three exchanges; begun, and last asked in, at the time that is given, or at noon."""
    begun_at = fields.pop("created_at", NOON)
    thread = ThreadFactory(
        project=project, created_at=begun_at, last_activity_at=fields.pop("last_activity_at", begun_at), **fields
    )
    QuestionAnswerFactory.create_batch(3, thread=thread)
    return thread


def erase(criterion: Criterion) -> Erasure:
    erasure = erasing.begin(criterion, asked_by="a test", announce=False)
    for _ in erasing.carry_out(erasure):
        pass
    erasure.refresh_from_db()
    return erasure


def rest_of(threads: Sequence[Thread]) -> list[Thread]:
    left = set(Thread.objects.values_list("pk", flat=True))
    return [thread for thread in threads if thread.pk in left]


# -- whose ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@EXAMPLE.COM", "  Ada@example.com "])
def test_a_person_is_known_by_their_address_in_either_case(project: Project, email: str):
    hers, his, nobodys = (make_thread(project, user_email=each) for each in ("Ada@Example.com", "bob@example.com", ""))
    erasure = erase(Criterion(email=email))
    assert rest_of([hers, his, nobodys]) == [his, nobodys]
    assert (erasure.state, erasure.total, erasure.erased) == ("done", 1, 1)


def test_or_by_their_id_as_it_is(project: Project):
    hers, his = (make_thread(project, user_unique_client_id=each) for each in ("a42", "A42"))
    erase(Criterion(client_id=" a42 "))
    assert rest_of([hers, his]) == [his]


def test_either_of_both_is_enough(project: Project):
    by_address = make_thread(project, user_email="ada@example.com", user_unique_client_id="1")
    by_id = make_thread(project, user_unique_client_id="42")
    other = make_thread(project, user_email="bob@example.com", user_unique_client_id="43")
    erase(Criterion(email="ada@example.com", client_id="42"))
    assert rest_of([by_address, by_id, other]) == [other]


def test_one_that_was_taken_up_again_is_not_old(project: Project):
    old = make_thread(project)
    taken_up = make_thread(project, last_activity_at=NOON + timedelta(days=30))
    erase(Criterion(project.pk, idle_since=NOON + timedelta(days=10)))
    assert rest_of([old, taken_up]) == [taken_up]


def test_what_is_begun_while_others_are_erased_stays(project: Project):
    before = make_thread(project)
    erasure = erasing.begin(Criterion(project.pk), asked_by="a test", announce=False)
    after = make_thread(project, created_at=erasure.started_at + timedelta(seconds=1))
    assert sum(erasing.carry_out(erasure)) == 1
    assert rest_of([before, after]) == [after]


@pytest.fixture
def two_projects(db: None) -> list[Project]:
    return [ProjectFactory(), ProjectFactory()]


threads_of_a_project = st.lists(
    st.tuples(st.sampled_from(EMAILS), st.sampled_from(CLIENT_IDS), st.integers(0, 5), st.integers(0, 5)), max_size=8
)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    of_projects=st.lists(threads_of_a_project, min_size=2, max_size=2),
    email=st.sampled_from(["", "ADA@example.com"]),
    client_id=st.sampled_from(["", "42"]),
    idle_day=st.none() | st.integers(1, 7),
    names_project=st.booleans(),
    batch=st.integers(1, 3),
)
def test_as_many_are_erased_as_a_look_at_each_would_find(
    monkeypatch: pytest.MonkeyPatch,
    two_projects: list[Project],
    of_projects: list[list[tuple[str, str, int, int]]],
    email: str,
    client_id: str,
    idle_day: int | None,
    names_project: bool,
    batch: int,
):
    monkeypatch.setattr(erasing, "THREADS_PER_BATCH", batch)
    Thread.objects.all().delete()
    threads = [
        ThreadFactory.build(
            project=project,
            user_email=user_email,
            user_unique_client_id=user_id,
            created_at=NOON + timedelta(days=day),
            last_activity_at=NOON + timedelta(days=day + lasting),
        )
        for project, rows in zip(two_projects, of_projects, strict=True)
        for user_email, user_id, day, lasting in rows
    ]
    Thread.objects.bulk_create(threads)
    idle_since = None if idle_day is None else NOON + timedelta(days=idle_day)
    wanted = two_projects[0] if names_project else None

    def is_met(thread: Thread) -> bool:
        whose = [
            email and thread.user_email.lower() == email.lower(),
            client_id and thread.user_unique_client_id == client_id,
        ]
        return (
            (wanted is None or thread.project == wanted)
            and (not (email or client_id) or any(whose))
            and (idle_since is None or thread.last_activity_at < idle_since)
        )

    erasure = erase(Criterion(wanted.pk if wanted else None, email, client_id, idle_since))
    assert rest_of(threads) == [thread for thread in threads if not is_met(thread)]
    assert erasure.erased == erasure.total == sum(map(is_met, threads))


# -- all that belongs to them -----------------------------------------------------------------------------------------


def all_rows() -> str:
    """The whole database, as text."""
    tables = connection.introspection.table_names()
    with connection.cursor() as cursor:
        texts = []
        for table in tables:
            cursor.execute(f"SELECT t::text FROM {connection.ops.quote_name(table)} t")
            texts += [row[0] for row in cursor.fetchall()]
    return "\n".join(texts)


def test_nothing_of_it_is_left_anywhere(api: APIClient, project: Project):
    thread = make_thread(
        project,
        first_question=f"{MARK}?",
        user_email=f"{MARK}@example.com",
        user_unique_client_id=MARK,
        user_metadata={"note": MARK},
        origin_url=f"https://example.com/{MARK}",
        external_id=MARK,
    )
    source = {"title": MARK, "source_url": MARK, "snippet": MARK}
    QuestionAnswerFactory(thread=thread, question=MARK, answer=MARK, relevant_sources=[source])
    path = f"/query/v1/projects/{project.pk}/threads/{thread.pk}/"
    assert api.patch(path, {"category": str(project.categories.first().pk)}).status_code == 200
    draft = {"categories": [{"title": "Careers"}], "sample_size": 5}
    assert api.post(f"/query/v1/projects/{project.pk}/categories/preview/", draft).status_code == 202
    assert LabelChange.objects.filter(thread=thread).exists()
    assert PreviewThread.objects.filter(thread=thread).exists()
    assert MARK in all_rows()
    erase(Criterion(email=f"{MARK}@example.com"))
    left = all_rows()
    assert MARK not in left
    assert str(thread.pk) not in left
    assert api.get(path).status_code == 404
    assert api.get(f"/query/v1/projects/{project.pk}/threads/").json()["results"] == []


def test_the_record_tells_who_when_and_how_many_and_not_whose(project: Project):
    make_thread(project, user_email="ada@example.com", user_unique_client_id="42")
    erasure = erase(Criterion(project.pk, "Ada@example.com", "42"))
    assert (erasure.asked_by, erasure.erased, erasure.project_name) == ("a test", 1, project.name)
    assert erasure.finished_at is not None
    assert "ada@example.com" not in all_rows().lower()
    again = Criterion(email=" ADA@example.com")
    assert list(again.find_earlier_erasures()) == [erasure]
    assert list(Criterion(client_id="42").find_earlier_erasures()) == [erasure]
    assert not Criterion(email="bob@example.com").find_earlier_erasures().exists()
    assert not Criterion(project.pk).find_earlier_erasures().exists()


def test_the_record_is_recognised_after_the_secret_key_was_changed(project: Project, settings: Any):
    make_thread(project, user_email="ada@example.com")
    erasure = erase(Criterion(email="ada@example.com"))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-key"
    assert list(Criterion(email="ada@example.com").find_earlier_erasures()) == [erasure]
    settings.SECRET_KEY_FALLBACKS = []
    assert not Criterion(email="ada@example.com").find_earlier_erasures().exists()


KNOWN_TO_GO = {QuestionAnswer: "query.erasing", LabelChange: "categorisation", PreviewThread: "categorisation"}


def test_no_table_that_refers_to_conversations_is_forgotten():
    """One that is new has its rows deleted by a receiver of `threads_erased`, or in `erase_threads`."""
    referring: set[type[Model]] = {Thread}
    while True:
        more = {
            model
            for model in apps.get_models()
            for field in model._meta.get_fields()
            if isinstance(field, ForeignKey) and field.related_model in referring
        }
        if more <= referring:
            break
        referring |= more
    assert referring == {Thread, *KNOWN_TO_GO}


def test_a_batch_takes_the_same_few_statements_however_many_there_are(project: Project):
    counts = []
    for number in (2, 20):
        for _ in range(number):
            make_thread(project)
        with CaptureQueriesContext(connection) as queries:
            erase(Criterion(project.pk))
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_no_listener_to_single_rows_hears_of_them(project: Project):
    """Such a one might write down what was in them: an audit trail, say."""
    from django.db.models.signals import post_delete, pre_delete

    heard: list[object] = []

    def hear(instance: object, **kwargs: Any) -> None:
        heard.append(instance)

    make_thread(project)
    for signal in (pre_delete, post_delete):
        signal.connect(hear)
    try:
        erase(Criterion(project.pk))
    finally:
        for signal in (pre_delete, post_delete):
            signal.disconnect(hear)
    assert heard == []


# -- going on ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "THREADS_PER_BATCH", 2)


@pytest.mark.usefixtures("small_batches")
def test_one_that_is_left_half_way_is_gone_on_with(project: Project):
    for _ in range(5):
        make_thread(project)
    erasure = erasing.begin(Criterion(project.pk), asked_by="a test", announce=False)
    batches = erasing.carry_out(erasure)
    assert next(batches) == 2
    batches.close()
    assert Thread.objects.count() == 3
    assert erasing.carry_out_open(20, rest=lambda seconds: None)
    erasure.refresh_from_db()
    assert (erasure.state, erasure.erased, Thread.objects.count()) == ("done", 5, 0)


@pytest.mark.usefixtures("small_batches")
def test_one_that_is_cancelled_ends_where_it_stands(project: Project):
    for _ in range(5):
        make_thread(project, user_email="ada@example.com")
    erasure = erasing.begin(Criterion(email="ada@example.com"), asked_by="a test", announce=False)
    batches = erasing.carry_out(erasure)
    next(batches)
    erasing.cancel(erasure.pk)
    with pytest.raises(ErasureIsOver):
        next(batches)
    assert Thread.objects.count() == 3
    erasure.refresh_from_db()
    assert (erasure.state, erasure.erased, erasure.user_email) == ("cancelled", 2, "")
    assert erasing.carry_out_open(20)
    assert Thread.objects.count() == 3
    with pytest.raises(ErasureIsOver):
        erasing.cancel(erasure.pk)


@pytest.mark.usefixtures("small_batches")
def test_erasures_take_turns(project: Project, monkeypatch: pytest.MonkeyPatch):
    other = ProjectFactory()
    for _ in range(9):
        make_thread(project)
    make_thread(other)
    for each in (project, other):
        erasing.begin(Criterion(each.pk), asked_by="a test", announce=False)
    left_when_it_was_done: list[int] = []
    end = erasing._end

    def note_end(erasure_id: Any, state: Any) -> bool:
        left_when_it_was_done.append(Thread.objects.count())
        return end(erasure_id, state)

    monkeypatch.setattr(erasing, "_end", note_end)
    assert erasing.carry_out_open(20, rest=lambda seconds: None)
    first, last = left_when_it_was_done
    assert first >= 5, "the small one did not wait for the large one"
    assert last == 0


def test_what_one_fails_for_holds_up_no_other(project: Project, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    broken, other = ProjectFactory(), ProjectFactory()
    for each in (broken, other):
        make_thread(each)
        erasing.begin(Criterion(each.pk), asked_by="a test", announce=False)
    erase_batch = erasing._erase_batch

    def fail(threads: Any, *args: Any) -> Any:
        if threads.filter(project=broken).exists():
            raise RuntimeError("broken")
        return erase_batch(threads, *args)

    monkeypatch.setattr(erasing, "_erase_batch", fail)
    erasing.carry_out_open(20)
    assert list(Thread.objects.values_list("project", flat=True)) == [broken.pk]
    assert "could not be gone on with" in caplog.text
    monkeypatch.undo()
    assert erasing.carry_out_open(20)
    assert not Thread.objects.exists()


def test_a_worker_stops_when_its_time_is_up(project: Project):
    make_thread(project)
    erasing.begin(Criterion(project.pk), asked_by="a test", announce=False)
    assert not erasing.carry_out_open(0)
    assert Thread.objects.exists()


# -- others at work on the same rows ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_somebody_has_in_hand_is_passed_over_and_comes_later(project: Project):
    busy, idle = make_thread(project), make_thread(project)

    def write() -> None:
        Thread.objects.filter(pk=busy.pk).update(is_uncertain=True)

    erasure = erasing.begin(Criterion(project.pk), asked_by="a test", announce=False)
    batches = erasing.carry_out(erasure)
    with uncommitted_on_another_connection(write):
        assert next(batches) == 1
        assert rest_of([busy, idle]) == [busy]
        assert next(batches) == 0
    assert list(batches) == [1]
    assert rest_of([busy, idle]) == []


@pytest.mark.django_db(transaction=True)
def test_one_that_is_taken_up_in_that_moment_stays_whole(project: Project):
    thread = make_thread(project)
    answer = Answer("Yes.", False, [], Timings(0, 0, 0, 0), "And then?")
    criterion = Criterion(project.pk, idle_since=NOON + timedelta(days=1))

    def follow_up() -> None:
        services._continue_thread(thread, "And then?", answer)

    erasure = erasing.begin(criterion, asked_by="a test", announce=False)
    batches = erasing.carry_out(erasure)
    with uncommitted_on_another_connection(follow_up):
        assert next(batches) == 0
    assert list(batches) == []
    assert thread.question_answers.count() == 4


@pytest.mark.django_db(transaction=True)
def test_a_follow_up_of_one_that_was_erased_is_told_so(project: Project):
    thread = make_thread(project)
    on_another_connection(partial(erase, Criterion(project.pk)))
    with pytest.raises(ThreadNotFound):
        services._continue_thread(thread, "And then?", Answer("Yes.", False, [], Timings(0, 0, 0, 0), "And then?"))
    assert not QuestionAnswer.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_label_that_comes_too_late_leaves_no_trace(project: Project):
    thread = make_thread(project)
    category = project.categories.first()
    with uncommitted_on_another_connection(lambda: labels.assign_label(**label_of(thread, category))):
        batches = erasing.erase_in_batches(Criterion(project.pk), note=lambda number: None)
        assert next(batches) == 0  # its row is in hand
    assert list(batches) == [1]
    assert not LabelChange.objects.exists(), "the history of the label that came first went, too"
    with pytest.raises(ThreadNotFound):
        labels.assign_label(**label_of(thread, category))
    assert not LabelChange.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_others_have_in_hand_is_waited_for_and_not_asked_for_without_a_pause(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    make_thread(project)
    pauses: list[float] = []
    monkeypatch.setattr(erasing, "time", SimpleNamespace(sleep=pauses.append))
    with uncommitted_on_another_connection(lambda: Thread.objects.select_for_update().get()):
        batches = erasing.erase_in_batches(Criterion(project.pk), note=lambda number: None)
        assert [next(batches), next(batches), next(batches)] == [0, 0, 0]
    assert list(batches) == [1]
    assert pauses == [erasing.PAUSE_S] * 3


def label_of(thread: Thread, category: Any) -> dict[str, Any]:
    return {"project_id": thread.project_id, "thread_id": thread.pk, "category_id": category.pk}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("preview_first", [True, False])
def test_a_preview_begun_at_the_same_time_fails_neither(api: APIClient, project: Project, preview_first: bool):
    threads = [make_thread(project) for _ in range(5)]
    draft = {"categories": [{"title": "Careers"}], "sample_size": 5}

    def preview() -> None:
        assert api.post(f"/query/v1/projects/{project.pk}/categories/preview/", draft).status_code == 202

    def erase_all() -> None:
        list(erasing.erase_in_batches(Criterion(project.pk), note=lambda number: None))

    if preview_first:
        batches = erasing.erase_in_batches(Criterion(project.pk), note=lambda number: None)
        with uncommitted_on_another_connection(preview):
            assert next(batches) == 0
        list(batches)
    else:
        held = partial(erasing._erase_batch, Thread.objects.filter(project=project), None, lambda number: None)
        with uncommitted_on_another_connection(held) as commit:
            on_a_third = threading_preview(preview, commit)
        on_a_third()
        erase_all()
    assert rest_of(threads) == []
    assert not PreviewThread.objects.exists()


def threading_preview(preview: Any, commit: Any) -> Any:
    """Begin the preview, let the erasure be committed once the preview waits for it; what waits for the preview."""
    from tests.categorisation.two_connections import (
        started_on_another_connection,
        wait_until_somebody_waits_for_a_lock,
    )

    with started_on_another_connection(preview) as future:
        wait_until_somebody_waits_for_a_lock(unless=future)
        commit()
    return future.result


# -- retention --------------------------------------------------------------------------------------------------------


def keep_for(project: Project, days: int | None) -> None:
    Project.objects.filter(pk=project.pk).update(retention_days=days)


def test_a_project_keeps_conversations_for_as_long_as_it_says(project: Project):
    now = datetime.now(UTC)
    young, kept, old = (make_thread(project, created_at=now - timedelta(days=days)) for days in (0, 29, 31))
    others = make_thread(ProjectFactory(), created_at=now - timedelta(days=400))
    keep_for(project, 30)
    tasks.erase_conversations()
    assert rest_of([young, kept, old, others]) == [young, kept, others]
    erasure = Erasure.objects.get()
    assert (erasure.reason, erasure.asked_by, erasure.erased) == ("retention", "retention of 30 days", 1)


def test_without_a_word_it_keeps_them_for_good(project: Project):
    make_thread(project, created_at=NOON - timedelta(days=4000))
    assert erasing.begin_retentions() == 0


def test_one_a_day_is_begun_and_none_beside_one_that_is_open(project: Project):
    keep_for(project, 1)
    make_thread(project)
    assert [erasing.begin_retentions() for _ in range(2)] == [1, 0]
    erasing.carry_out_open(20)
    make_thread(project)
    assert erasing.begin_retentions() == 0
    Erasure.objects.update(started_at=datetime.now(UTC) - timedelta(hours=24))
    assert erasing.begin_retentions() == 1


def test_nothing_is_begun_where_nothing_is_old(project: Project):
    keep_for(project, 30)
    make_thread(project, created_at=datetime.now(UTC))
    assert erasing.begin_retentions() == 0


@pytest.mark.parametrize(("before", "idle"), list(product([True, False], repeat=2)))
def test_the_older_end_of_the_list_is_read_by_its_index(project: Project, before: bool, idle: bool):
    criterion = Criterion(project.pk, idle_since=NOON if idle else None, begun_before=NOON if before else None)
    threads = criterion.find_threads().order_by("created_at", "pk").select_for_update(skip_locked=True)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        sql, parameters = threads.values_list("created_at", "pk")[:500].query.sql_with_params()
        cursor.execute(f"EXPLAIN {sql}", parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert re.search(r"Index Scan Backward using thread_newest_first", plan), plan
