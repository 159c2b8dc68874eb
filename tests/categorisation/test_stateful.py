"""Labels, categories and classifications in any order, on two connections, against a model in a dictionary."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from categorisation import selectors, services
from categorisation.errors import CategoryNotFound
from categorisation.models import Category, Taxonomy
from categorisation.services.calls import Result, classify_all
from categorisation.services.claims import Claim, claim_thread
from categorisation.services.classification import record_results
from query.models import Thread
from tests.categorisation.fakes import FakeClassifier
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

Label = tuple[str, UUID | None] | None  # who gave which category


@dataclass
class InFlight:
    """A classification that was computed and is not written yet."""

    claim: Claim
    results: list[Result]
    version: int
    chosen: UUID


class Labels(RuleBasedStateMachine):
    """The classifier works on this thread's connection, people on another one."""

    threads = Bundle("threads")
    categories = Bundle("categories")
    in_flight = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.people = ThreadPoolExecutor(1)
        self.project = ProjectFactory()
        self.labels: dict[UUID, Label] = {}
        self.live: set[UUID] = set()
        self.version = 1
        self.made = 0

    def teardown(self) -> None:
        self.people.submit(lambda: connection.close()).result()
        self.people.shutdown()

    def by_person(self, act: Callable[..., Any], **arguments: Any) -> Any:
        return self.people.submit(act, project_id=self.project.pk, **arguments).result()

    @initialize(target=categories)
    def know_the_first_category(self) -> UUID:
        first, second = self.project.categories.all()
        self.by_person(services.delete_category, category_id=second.pk)
        self.version += 1
        self.live = {first.pk}
        return first.pk

    @rule(target=threads)
    def start_thread(self) -> UUID:
        thread = ThreadFactory(project=self.project)
        self.labels[thread.pk] = None
        return thread.pk

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
        self.live.discard(category)
        self.version += 1
        for thread, label in self.labels.items():
            if label and label[1] == category:
                self.labels[thread] = (label[0], heir) if heir else None

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
    def forget(self, thread: UUID) -> None:
        label = self.labels[thread]
        is_decision = label is not None and label[0] == "user"
        assert self.by_person(services.forget_label, thread_id=thread) is is_decision
        if is_decision:
            self.labels[thread] = None

    @rule(target=in_flight, thread=threads, lot=st.integers(0, 10))
    def compute(self, thread: UUID, lot: int) -> InFlight | None:
        """Also when somebody else computes already: as if a lease had ended."""
        Thread.objects.filter(pk=thread).update(classify_after="2000-01-01T00:00Z")
        claim = claim_thread(thread)
        assert (claim is not None) == (self.labels[thread] is None and bool(self.live))
        if claim is None:
            return None
        taxonomy = selectors.read_taxonomy(self.project.pk)
        classifier = FakeClassifier(lambda question, categories: categories[lot % len(categories)].id)
        results = classify_all(classifier, [claim.question], taxonomy.categories)
        return InFlight(claim, results, taxonomy.version, UUID(results[0].category_id))

    @rule(computed=in_flight)
    def write(self, computed: InFlight | None) -> None:
        """Also more than once: the same message delivered again."""
        if computed is None:
            return
        record_results(
            [computed.claim], computed.results, taxonomy_version=computed.version, classifier_version="fake-1"
        )
        thread = computed.claim.thread_id
        if self.labels[thread] is None and computed.chosen in self.live:
            self.labels[thread] = ("classifier", computed.chosen)

    @invariant()
    def the_database_agrees(self) -> None:
        rows = Thread.objects.filter(project=self.project).values_list("pk", "category_source", "category_id")
        assert {pk: (source, category) if source else None for pk, source, category in rows} == self.labels

    @invariant()
    def only_live_categories_are_left(self) -> None:
        assert set(Category.objects.filter(project=self.project).values_list("pk", flat=True)) == self.live
        assert Taxonomy.objects.get(project=self.project).version == self.version


@pytest.mark.django_db(transaction=True)
def test_check_17_no_order_of_events_breaks_a_label():
    run_state_machine_as_test(
        Labels,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
