"""A classification step by step, and the points of it at which somebody else may act."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from django.db.models.functions import Now

from categorisation import selectors, services
from categorisation.models import Category, LabelChange, Run
from categorisation.services import results
from categorisation.services.calls import Result, classify_all
from categorisation.services.claims import Claim, claim_for_run, claim_thread
from categorisation.services.history import SHELL
from categorisation.services.results import Outcome
from categorisation.services.streams import Done, Stream, Work
from query.models import Thread
from teams.models import Project
from tests.categorisation.fakes import FakeClassifier, preferring
from tests.categorisation.two_connections import (
    TIMEOUT_S,
    on_another_connection,
    started_on_another_connection,
    uncommitted_on_another_connection,
    wait_until_somebody_waits_for_a_lock,
)
from tests.factories.query import ThreadFactory

Act = Callable[[], object]
EVERYTHING = 1_000


class Steps:
    """A classification of a thread as `category`, while that is there: of its own, or of a run."""

    def __init__(self, thread: Thread, category: Category, run: Run | None = None) -> None:
        self.thread = thread
        self.category = category
        self.run = run
        self.claim_held: Claim | None = None
        self.works: list[Work] = []
        self.results: list[Result] = []
        self.outcomes: list[Outcome] = []

    def claim(self) -> None:
        assert self.may_claim(), "the thread is not due"

    def may_claim(self) -> bool:
        if self.run is None:
            self.claim_held = claim_thread(self.thread.pk)
        else:
            claims = {claim.thread_id: claim for claim in claim_for_run(self.run, EVERYTHING)}
            self.claim_held = claims.get(self.thread.pk)
        return self.claim_held is not None

    def compute(self, meanwhile: Act = lambda: None) -> None:
        assert self.claim_held is not None
        stream = Stream(self.thread.project_id, selectors.read_taxonomy(self.thread.project_id), self.run)
        classifier = FakeClassifier(preferring(self.category.pk), before=lambda _: on_another_connection(meanwhile))
        self.works = [Work(stream, self.claim_held)]
        self.results = classify_all(classifier, [self.claim_held.question], stream.taxonomy.categories)

    def write(self) -> None:
        done = [Done(work, result) for work, result in zip(self.works, self.results, strict=True)]
        self.outcomes, _ = results.record(done, FakeClassifier.version)

    def all_if_due(self) -> None:
        if self.may_claim():
            self.compute()
            self.write()


def before_the_claim(steps: Steps, act: Act) -> None:
    on_another_connection(act)
    steps.all_if_due()


def after_the_claim(steps: Steps, act: Act) -> None:
    steps.claim()
    on_another_connection(act)
    steps.compute()
    steps.write()


def while_the_classifier_computes(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute(meanwhile=act)
    steps.write()


def before_the_write(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute()
    on_another_connection(act)
    steps.write()


def uncommitted_when_the_write_comes(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute()
    with uncommitted_on_another_connection(act) as commit, started_on_another_connection(steps.write) as writing:
        wait_until_somebody_waits_for_a_lock(unless=writing)
        commit()
        writing.result(TIMEOUT_S)


def while_the_write_is_uncommitted(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute()
    with uncommitted_on_another_connection(steps.write) as commit, started_on_another_connection(act) as acting:
        wait_until_somebody_waits_for_a_lock(unless=acting)
        commit()
        acting.result(TIMEOUT_S)


def after_the_write(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute()
    steps.write()
    on_another_connection(act)


POINTS = [
    before_the_claim,
    after_the_claim,
    while_the_classifier_computes,
    before_the_write,
    uncommitted_when_the_write_comes,
    while_the_write_is_uncommitted,
    after_the_write,
]
At = Callable[[Steps, Act], None]
# What a classification finds: a thread, and the run that it belongs to, if any.
Begin = Callable[[Project, Category], AbstractContextManager[tuple[Thread, Run | None]]]


@contextmanager
def a_new_thread(project: Project, old: Category) -> Iterator[tuple[Thread, Run | None]]:
    yield ThreadFactory(project=project), None


@contextmanager
def a_thread_that_is_computed_again(project: Project, old: Category) -> Iterator[tuple[Thread, Run | None]]:
    """Labelled by the classifier as `old`."""
    thread = ThreadFactory(project=project)
    Steps(thread, old).all_if_due()
    make_due(thread)  # the lease of that claim is over
    run = services.start_reclassify(project_id=project.pk, actor=SHELL, scope="all")
    yield thread, run
    services.cancel_run(project_id=project.pk, run_id=run.pk, actor=SHELL)


BEGINNINGS = [a_new_thread, a_thread_that_is_computed_again]


def make_due(thread: Thread) -> None:
    """As if every lease and every pause were over."""
    Thread.objects.filter(pk=thread.pk).update(classify_after=Now())


def label_when_all_is_over(thread: Thread, category: Category) -> None:
    """The next classification, of which nobody takes notice."""
    make_due(thread)
    Steps(thread, category).all_if_due()


def label_of(thread: Thread) -> tuple[str | None, str | None]:
    """Who gave which category's title, as the row has it."""
    thread.refresh_from_db()
    return thread.category_source, thread.category.title if thread.category else None


def assert_history_is_whole(thread: Thread) -> None:
    """Each change of the label went from where the one before had led, and the last led to what is there."""
    label: tuple[object, object] = (None, None)
    for change in LabelChange.objects.filter(thread=thread).order_by("id"):
        assert (change.from_category_id, change.from_source) == label
        label = (change.to_category_id, change.to_source)
    thread.refresh_from_db()
    assert (thread.category_id, thread.category_source) == label
