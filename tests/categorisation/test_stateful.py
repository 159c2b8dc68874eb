"""Labels, categories, classifications and re-runs in any order, on two connections, against a model in dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from categorisation import selectors, services
from categorisation.errors import CategoryNotFound
from categorisation.models import Category, LabelChange, Run, Taxonomy
from categorisation.services import results
from categorisation.services.calls import Result, classify_all
from categorisation.services.claims import Claim, claim_for_run, claim_thread
from categorisation.services.history import SHELL
from categorisation.services.results import Outcome
from categorisation.services.streams import Done, Stream, Work
from query import selectors as query_selectors
from query.models import Thread
from query.serializers import ThreadRow
from tests.categorisation.fakes import FakeClassifier
from tests.categorisation.two_connections import TIMEOUT_S, wait_until_somebody_waits_for_a_lock
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

Label = tuple[str, UUID | None] | None  # who gave which category
LONG_AGO = "2000-01-01T00:00Z"
# few, so that what happens meets
MOST_THREADS = 2
MOST_CATEGORIES = 4


@dataclass
class InFlight:
    """A classification that was computed and is not written yet; `replaces` is what it found there."""

    work: Work
    result: Result
    chosen: UUID
    replaces: UUID | None


class SomebodyElse:
    """A person in a Python thread of their own, on one connection that stays."""

    def __init__(self) -> None:
        self._hands = ThreadPoolExecutor(1)

    def do(self, act: Callable[[], Any]) -> Any:
        return self.start(act).result(TIMEOUT_S)

    def start(self, act: Callable[[], Any]) -> Future[Any]:
        return self._hands.submit(act)

    def leave(self) -> None:
        self.do(lambda: connection.close())  # looked up there: each thread has its own
        self._hands.shutdown()


class Labels(RuleBasedStateMachine):
    """The classifier works on this thread's connection, people on another one."""

    threads = Bundle("threads")
    categories = Bundle("categories")
    in_flight = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.person = SomebodyElse()
        self.project = ProjectFactory()
        self.elsewhere = ProjectFactory().categories.all()[0].pk
        self.run: Run | None = None
        self.labels: dict[UUID, Label] = {}
        self.live: set[UUID] = set()
        self.deleted: dict[UUID, UUID | None] = {}  # and not emptied: what replaces it
        self.version = 1
        self.made = 0

    def teardown(self) -> None:
        self.person.leave()

    # -- the model ----------------------------------------------------------------------------------------------------

    def by_person(self, act: Callable[..., Any], **arguments: Any) -> Any:
        return self.person.do(lambda: act(project_id=self.project.pk, **arguments))

    def is_written(self, computed: InFlight) -> bool:
        """Whether a classification's label is what the row bears, once it is written now."""
        now = self.labels[computed.work.claim.thread_id]
        expected = None if computed.replaces is None else ("classifier", computed.replaces)
        return now == expected and computed.chosen in self.live

    def note_written(self, computed: InFlight) -> None:
        if self.is_written(computed):
            self.labels[computed.work.claim.thread_id] = ("classifier", computed.chosen)

    def note_deleted(self, category: UUID, heir: UUID | None) -> None:
        self.live.discard(category)
        self.version += 1
        self.deleted = {pk: heir if to == category else to for pk, to in self.deleted.items()}
        self.deleted[category] = heir

    def note_emptied(self) -> None:
        self.labels = {thread: self.shown(label) for thread, label in self.labels.items()}
        self.deleted = {}

    def shown(self, label: Label) -> Label:
        if label is None or label[1] not in self.deleted:
            return label
        heir = self.deleted[label[1]]
        return None if heir is None else (label[0], heir)

    # -- categories ---------------------------------------------------------------------------------------------------

    @initialize(target=categories)
    def know_the_predefined_categories(self) -> Any:
        self.live = {category.pk for category in self.project.categories.all()}
        return multiple(*sorted(self.live))

    @precondition(lambda self: len(self.live) < MOST_CATEGORIES)
    @rule(target=categories)
    def create_category(self) -> UUID:
        self.made += 1
        category = self.by_person(services.create_category, title=f"Category {self.made}")
        self.live.add(category.pk)
        self.version += 1
        return category.pk

    @rule(category=categories)
    def rename_category(self, category: UUID) -> None:
        self.made += 1
        change = {"category_id": category, "changes": {"title": f"Category {self.made}"}}
        if category not in self.live:
            with pytest.raises(CategoryNotFound):
                self.by_person(services.change_category, **change)
            return
        self.by_person(services.change_category, **change)
        self.version += 1

    @rule(category=categories, heir=st.none() | categories)
    def delete_category(self, category: UUID, heir: UUID | None) -> None:
        deletion = {"category_id": category, "reassign_to": heir}
        if category not in self.live or heir == category or not (heir is None or heir in self.live):
            with pytest.raises(CategoryNotFound):
                self.by_person(services.delete_category, **deletion)
            return
        self.by_person(services.delete_category, **deletion)
        self.note_deleted(category, heir)

    @rule()
    def empty_categories(self) -> None:
        """What the worker does some time after a deletion."""
        assert services.empty_categories(budget_s=TIMEOUT_S)
        self.note_emptied()

    # -- people -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.labels) < MOST_THREADS)
    @rule(target=threads)
    def start_thread(self) -> UUID:
        thread = ThreadFactory(project=self.project)
        self.labels[thread.pk] = None
        return thread.pk

    @rule(thread=threads, category=st.none() | categories)
    def decide(self, thread: UUID, category: UUID | None) -> None:
        decision = {"thread_id": thread, "category_id": category}
        if category is not None and category not in self.live:
            with pytest.raises(CategoryNotFound):
                self.by_person(services.assign_label, **decision)
            return
        self.by_person(services.assign_label, **decision)
        self.labels[thread] = ("user", category)

    @rule(thread=threads)
    def decide_for_a_category_of_another_project(self, thread: UUID) -> None:
        with pytest.raises(CategoryNotFound):
            self.by_person(services.assign_label, thread_id=thread, category_id=self.elsewhere)

    @rule(thread=threads)
    def forget(self, thread: UUID) -> None:
        label = self.labels[thread]
        is_decision = label is not None and label[0] == "user"
        assert self.by_person(services.forget_label, thread_id=thread) is is_decision
        if is_decision:
            self.labels[thread] = None

    # -- the classifier -----------------------------------------------------------------------------------------------

    @rule(target=in_flight, thread=threads, lot=st.integers(0, 10))
    def compute(self, thread: UUID, lot: int) -> Any:
        """Also when somebody else computes already: as if a lease had ended."""
        Thread.objects.filter(pk=thread).update(classify_after=LONG_AGO)
        claim = claim_thread(thread)
        assert (claim is not None) == (self.labels[thread] is None and bool(self.live))
        return multiple() if claim is None else self.classify(claim, None, lot)

    @rule()
    def start_run(self) -> None:
        """Compute all labels of the classifier anew."""
        if self.run is not None:
            services.cancel_run(project_id=self.project.pk, run_id=self.run.pk, actor=SHELL)
        self.run = services.start_reclassify(project_id=self.project.pk, actor=SHELL, scope="all")

    @precondition(lambda self: self.run is not None)
    @rule(target=in_flight, thread=threads, lot=st.integers(0, 10))
    def compute_again(self, thread: UUID, lot: int) -> Any:
        """For the run, as if the label were older than it, and no lease held."""
        assert self.run is not None
        Thread.objects.filter(pk=thread).update(classify_after=LONG_AGO)
        Thread.objects.filter(pk=thread, category_source="classifier").update(categorised_at=LONG_AGO)
        claims = {claim.thread_id: claim for claim in claim_for_run(self.run, 1_000)}
        label = self.labels[thread]
        assert (thread in claims) == (label is not None and label[0] == "classifier" and label[1] in self.live)
        return self.classify(claims[thread], self.run, lot) if thread in claims else multiple()

    def classify(self, claim: Claim, run: Run | None, lot: int) -> InFlight:
        stream = Stream(self.project.pk, selectors.read_taxonomy(self.project.pk), run)
        assert {UUID(category.id) for category in stream.taxonomy.categories} == self.live
        classifier = FakeClassifier(lambda question, categories: categories[lot % len(categories)].id)
        (result,) = classify_all(classifier, [claim.question], stream.taxonomy.categories)
        label = self.labels[claim.thread_id]
        return InFlight(Work(stream, claim), result, UUID(result.category_id), label and label[1])

    @rule(computed=in_flight)
    def write(self, computed: InFlight) -> None:
        """Also more than once: the same message delivered again."""
        outcome = record(computed)
        assert (outcome is Outcome.LABELLED) == self.is_written(computed)
        assert (outcome is Outcome.DROPPED) == (computed.chosen not in self.live)
        self.note_written(computed)

    # -- at the same moment -------------------------------------------------------------------------------------------

    @rule(computed=in_flight, category=st.none() | categories, is_first=st.booleans())
    def write_meets_a_decision(self, computed: InFlight, category: UUID | None, is_first: bool) -> None:
        """One of them is not committed when the other comes."""
        if category is not None and category not in self.live:
            return
        thread = computed.work.claim.thread_id

        def decide() -> None:
            services.assign_label(project_id=self.project.pk, thread_id=thread, category_id=category)

        self.at_once(decide, computed, is_first)
        self.labels[thread] = ("user", category)  # whoever came first

    @rule(computed=in_flight, heir=st.none() | categories, is_first=st.booleans())
    def write_meets_a_deletion(self, computed: InFlight, heir: UUID | None, is_first: bool) -> None:
        """Of the very category that is being written, and that is emptied as fast as any worker could."""
        if computed.chosen not in self.live:
            return
        if heir == computed.chosen or not (heir is None or heir in self.live):
            return

        def delete() -> None:
            services.delete_category(project_id=self.project.pk, category_id=computed.chosen, reassign_to=heir)
            assert services.empty_categories(budget_s=TIMEOUT_S)

        self.at_once(delete, computed, is_first)
        if not is_first:
            self.note_written(computed)
        self.note_deleted(computed.chosen, heir)
        self.note_emptied()

    def at_once(self, act: Callable[[], None], computed: InFlight, is_first: bool) -> None:
        """A person's act and a write; the first of them is committed when the second waits for it, or is over."""
        first, second = (act, lambda: record(computed)) if is_first else (lambda: record(computed), act)
        with ExitStack() as stack:
            other = SomebodyElse()
            stack.callback(other.leave)
            with transaction.atomic():
                first()
                waiting = other.start(second)
                wait_until_somebody_waits_for_a_lock(unless=waiting)
            waiting.result(TIMEOUT_S)

    # -- what holds always --------------------------------------------------------------------------------------------

    @invariant()
    def rows_are_as_the_model_has_them(self) -> None:
        rows = Thread.objects.filter(project=self.project).values_list("pk", "category_source", "category_id")
        assert {pk: (source, category) if source else None for pk, source, category in rows} == self.labels

    @invariant()
    def what_is_shown_is_live_and_of_the_project(self) -> None:
        rows = [ThreadRow(thread).data for thread in query_selectors.threads_of(self.project.pk)]
        shown = {
            row["id"]: (row["category_source"], row["category"] and row["category"]["id"])
            if row["category_source"]
            else None
            for row in rows
        }
        assert shown == {thread: self.shown(label) for thread, label in self.labels.items()}
        assert {label[1] for label in shown.values() if label} <= self.live | {None}

    @invariant()
    def categories_are_as_the_model_has_them(self) -> None:
        rows = Category.objects.filter(project=self.project)
        assert set(rows.filter(deleted_at=None).values_list("pk", flat=True)) == self.live
        assert dict(rows.filter(deleted_at__isnull=False, emptied_at=None).values_list("pk", "reassigned_to")) == (
            self.deleted
        )
        assert Taxonomy.objects.get(project=self.project).version == self.version

    @invariant()
    def the_history_leads_to_what_is_there(self) -> None:
        labels: dict[UUID, tuple[str | None, UUID | None]] = dict.fromkeys(self.labels, (None, None))
        for change in LabelChange.objects.filter(thread__project=self.project).order_by("id"):
            assert labels[change.thread_id] == (change.from_source, change.from_category_id)
            labels[change.thread_id] = (change.to_source, change.to_category_id)
        assert labels == {thread: label or (None, None) for thread, label in self.labels.items()}


def record(computed: InFlight) -> Outcome:
    (outcome,), _ = results.record([Done(computed.work, computed.result)], FakeClassifier.version)
    return outcome


@pytest.mark.parametrize(
    "sequences", [pytest.param(20, id="20 sequences"), pytest.param(1_000, id="1000 sequences", marks=pytest.mark.soak)]
)
@pytest.mark.django_db(transaction=True)
def test_check_17_no_order_of_events_breaks_a_label(sequences: int):
    run_state_machine_as_test(
        Labels,
        settings=settings(
            max_examples=sequences, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
