"""The classifier's way, one process."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from categorisation import selectors, services
from categorisation.classifiers import Classification
from categorisation.errors import ClassifierError, ClassifierUnavailable
from categorisation.models import Category, Taxonomy
from categorisation.services import Outcome
from categorisation.services import claims as claiming
from categorisation.services.calls import classify_all
from categorisation.services.claims import MAX_ATTEMPTS, NEVER, Claim, claim_thread
from categorisation.services.classification import record_results
from query.models import Thread
from teams.models import Project
from tests.categorisation.conftest import SetEnvironment
from tests.categorisation.fakes import FakeClassifier, raising, titled
from tests.categorisation.windows import sweep
from tests.factories.categorisation import CategoryFactory
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db
MANY = 32


@pytest.fixture
def thread(project: Project) -> Thread:
    return ThreadFactory(project=project)


def make_due(thread: Thread) -> None:
    Thread.objects.filter(pk=thread.pk).update(classify_after=timezone.now() - timedelta(seconds=1))


def classify_and_record(claim: Claim, classifier: FakeClassifier) -> Outcome:
    taxonomy = selectors.read_taxonomy(claim.project_id)
    found = classify_all(classifier, [claim.question], taxonomy.categories)
    (outcome,) = record_results(
        [claim], found, taxonomy_version=taxonomy.version, classifier_version=classifier.version
    )
    return outcome


def test_a_thread_gets_the_label_that_the_classifier_computed(
    project: Project, thread: Thread, troubleshooting: Category
):
    Taxonomy.objects.filter(project=project).update(version=7)
    classifier = FakeClassifier(titled("Troubleshooting"), confidence=0.75)

    assert services.label_thread(thread.pk, classifier) is Outcome.LABELLED

    before = thread.updated_at
    thread.refresh_from_db()
    assert thread.category == troubleshooting
    assert (thread.category_source, thread.category_confidence) == ("classifier", 0.75)
    assert thread.category_taxonomy_version == 7
    assert thread.categorised_at is not None
    assert thread.updated_at > before
    assert classifier.calls == [[thread.first_question]]


def test_the_classifier_is_told_all_about_the_live_categories_of_the_project_alone(
    project: Project, thread: Thread, discovery: Category
):
    CategoryFactory(project=ProjectFactory(), title="Foreign")
    CategoryFactory(project=project, title="Deleted", deleted_at=timezone.now())
    classifier = FakeClassifier()

    services.label_thread(thread.pk, classifier)

    ((first, second),) = classifier.seen
    assert (first.title, second.title) == ("Discovery", "Troubleshooting")
    assert (first.id, first.description) == (str(discovery.pk), discovery.description)
    assert (first.examples, first.cues) == (tuple(discovery.examples), tuple(discovery.cues))


def test_nobody_classifies_inside_of_a_transaction(transactional_db: None):
    thread = ThreadFactory()
    inside = []
    main = connections["default"]  # not the lane's own, which is never used
    classifier = FakeClassifier(before=lambda questions: inside.append(main.in_atomic_block))
    services.label_thread(thread.pk, classifier)
    ThreadFactory(project=thread.project)
    sweep(classifier)
    assert inside == [False, False]


def test_check_09_the_same_task_delivered_ten_times_writes_once(thread: Thread):
    classifier = FakeClassifier()
    outcomes = [services.label_thread(thread.pk, classifier) for _ in range(10)]
    assert outcomes == [Outcome.LABELLED] + [Outcome.NOT_CLAIMED] * 9
    assert len(classifier.calls) == 1


def test_a_claimed_thread_is_claimed_again_when_the_lease_is_over_and_not_before(thread: Thread):
    first = claim_thread(thread.pk)
    assert first is not None
    assert (first.question, first.attempts) == (thread.first_question, 0)
    assert claim_thread(thread.pk) is None
    make_due(thread)
    assert claim_thread(thread.pk) is not None


@pytest.mark.parametrize("reason", ["unknown", "user", "none of them", "classifier", "later", "given up"])
def test_a_thread_that_is_not_due_is_not_claimed(thread: Thread, discovery: Category, reason: str):
    now = timezone.now()
    states = {
        "user": {"category": discovery, "category_source": "user", "categorised_at": now},
        "none of them": {"category_source": "user", "categorised_at": now},
        "classifier": {"category": discovery, "category_source": "classifier", "categorised_at": now},
        "later": {"classify_after": now + timedelta(hours=1)},
        "given up": {"classify_after": NEVER},
    }
    Thread.objects.filter(pk=thread.pk).update(**states.get(reason, {"classify_after": now}))
    assert claim_thread(uuid.uuid4() if reason == "unknown" else thread.pk) is None


def test_the_off_switches_are_heeded(project: Project, thread: Thread, set_environment: SetEnvironment):
    Taxonomy.objects.filter(project=project).update(is_enabled=False)
    assert claim_thread(thread.pk) is None
    Taxonomy.objects.filter(project=project).update(is_enabled=True)
    set_environment(classification_enabled=False)
    assert claim_thread(thread.pk) is None
    assert sweep(FakeClassifier()) == {}
    set_environment(classification_enabled=True)
    assert claim_thread(thread.pk) is not None


def test_a_project_without_categories_keeps_its_threads_null_and_nobody_busy(project: Project, thread: Thread):
    for category in list(project.categories.all()):
        services.delete_category(project_id=project.pk, category_id=category.pk)
    classifier = FakeClassifier()

    assert services.label_thread(thread.pk, classifier) is Outcome.NOT_CLAIMED
    assert sweep(classifier) == {}
    assert classifier.calls == []

    services.create_category(project_id=project.pk, title="Careers")
    assert sweep(classifier) == {Outcome.LABELLED: 1}


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_check_10_a_thread_that_makes_the_classifier_raise_stops_after_five_attempts(
    project: Project, caplog: pytest.LogCaptureFixture
):
    poison = ThreadFactory(project=project, first_question="poison, and a secret")
    innocent = ThreadFactory(project=project, first_question="harmless")
    error = ClassifierError("no classification of 'poison, and a secret'")
    classifier = FakeClassifier(before=raising(error, on="poison"))

    outcomes = []
    for _ in range(MAX_ATTEMPTS + 2):
        outcomes.append(services.label_thread(poison.pk, classifier))
        poison.refresh_from_db()
        if poison.classify_after != NEVER:
            make_due(poison)

    assert outcomes == [Outcome.FAILED] * 4 + [Outcome.GIVEN_UP] + [Outcome.NOT_CLAIMED] * 2
    assert (poison.classify_attempts, poison.classify_after) == (5, NEVER)
    assert poison.category is None
    assert services.label_thread(innocent.pk, classifier) is Outcome.LABELLED
    assert "secret" not in caplog.text
    assert str(poison.pk) in caplog.text


def test_the_pauses_grow(thread: Thread):
    classifier = FakeClassifier(before=raising(ClassifierError("no")))
    pauses = []
    for _ in range(4):
        make_due(thread)
        before = timezone.now()
        services.label_thread(thread.pk, classifier)
        thread.refresh_from_db()
        pauses.append(thread.classify_after - before)
    assert [timedelta(seconds=round(pause.total_seconds(), -1)) for pause in pauses] == [
        timedelta(seconds=seconds) for seconds in (10, 60, 300, 1800)
    ]


def test_a_given_up_thread_can_be_tried_again(thread: Thread, discovery: Category):
    Thread.objects.filter(pk=thread.pk).update(classify_attempts=5, classify_after=NEVER)
    assert services.retry_classification(Thread.objects.all()) == 1
    assert services.label_thread(thread.pk, FakeClassifier()) is Outcome.LABELLED
    assert services.retry_classification(Thread.objects.all()) == 0


def test_a_classifier_that_is_down_costs_no_attempt(thread: Thread):
    down = FakeClassifier(before=raising(ClassifierUnavailable("down", retry_after_s=60)))
    assert services.label_thread(thread.pk, down) is Outcome.POSTPONED
    thread.refresh_from_db()
    assert thread.classify_attempts == 0
    assert timedelta(seconds=50) < thread.classify_after - timezone.now() <= timedelta(seconds=60)


@pytest.mark.parametrize("error", [ClassifierError("no"), ClassifierUnavailable("down"), ValueError("what?")])
def test_a_failure_that_comes_after_the_lease_changes_nothing(thread: Thread, error: Exception):
    late = claim_thread(thread.pk)
    assert late is not None
    make_due(thread)
    assert claim_thread(thread.pk) is not None
    thread.refresh_from_db()

    classify_and_record(late, FakeClassifier(before=raising(error)))
    claiming.release([late])

    before, attempts = thread.classify_after, thread.classify_attempts
    thread.refresh_from_db()
    assert (thread.classify_after, thread.classify_attempts) == (before, attempts)


class BrokenClassifier(FakeClassifier):
    """Answers with whatever it was given."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def classify(self, questions, categories):
        return self.answer(categories) if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        lambda categories: [Classification(categories[0].id, 0.5)] * 2,
        [Classification(str(uuid.uuid4()), 0.5)],
        [Classification("nonsense", 0.5)],
        lambda categories: [Classification(categories[0].id, float("nan"))],
        lambda categories: [Classification(categories[0].id, 1.5)],
        lambda categories: [Classification(categories[0].id, -0.1)],
        lambda categories: [Classification(categories[0].id, None)],
    ],
)
def test_nonsense_from_a_classifier_is_a_failure_of_the_attempt(thread: Thread, answer: object):
    assert services.label_thread(thread.pk, BrokenClassifier(answer)) is Outcome.FAILED
    thread.refresh_from_db()
    assert (thread.classify_attempts, thread.category_source) == (1, None)


def test_in_a_call_with_many_questions_only_the_poisonous_fails(discovery: Category):
    categories = selectors.read_taxonomy(discovery.project_id).categories
    classifier = FakeClassifier(before=raising(RuntimeError("boom"), on="poison"))
    good, bad, other = classify_all(classifier, ["good", "poison", "other"], categories)
    assert isinstance(good, Classification)
    assert isinstance(other, Classification)
    assert isinstance(bad, ClassifierError)


def test_what_is_not_reached_in_time_is_no_failure(discovery: Category):
    categories = selectors.read_taxonomy(discovery.project_id).categories
    classifier = FakeClassifier(before=raising(RuntimeError("boom"), on="poison"))
    results = classify_all(classifier, ["good", "poison"], categories, deadline=0)
    assert [type(result) for result in results] == [ClassifierUnavailable] * 2
    assert len(classifier.calls) == 1


def test_a_classifier_that_goes_down_is_not_asked_again(discovery: Category):
    categories = selectors.read_taxonomy(discovery.project_id).categories

    def fail(questions: list[str]) -> None:
        raise RuntimeError("boom") if len(questions) > 1 else ClassifierUnavailable("down")

    classifier = FakeClassifier(before=fail)
    results = classify_all(classifier, ["a", "b", "c"], categories)
    assert [type(result) for result in results] == [ClassifierUnavailable] * 3
    assert len(classifier.calls) == 2


# -- the sweeper ------------------------------------------------------------------------------------------------------


def test_the_sweeper_labels_what_nobody_announced(project: Project):
    threads = [*ThreadFactory.create_batch(3, project=project), ThreadFactory()]
    assert sweep(FakeClassifier()) == {Outcome.LABELLED: 4}
    assert Thread.objects.filter(category=None).count() == 0
    for thread in threads:
        thread.refresh_from_db()
        assert thread.category.project_id == thread.project_id


def test_the_sweeper_leaves_old_threads_to_the_backfill(thread: Thread):
    Thread.objects.filter(pk=thread.pk).update(created_at=timezone.now() - timedelta(hours=25))
    assert sweep(FakeClassifier()) == {}


def test_the_sweeper_goes_on_until_none_is_left_with_many_questions_in_a_call(project: Project):
    ThreadFactory.create_batch(MANY + 3, project=project)
    ThreadFactory(first_question="of another project")
    classifier = FakeClassifier()

    outcomes = sweep(classifier, questions_per_call=MANY)

    assert outcomes == {Outcome.LABELLED: MANY + 4}
    assert max(len(call) for call in classifier.calls) > 10
    assert ["of another project"] in classifier.calls


def test_the_sweeper_asks_a_classifier_that_is_down_once(project: Project):
    ThreadFactory.create_batch(3, project=project)
    down = FakeClassifier(before=raising(ClassifierUnavailable("down", retry_after_s=0)))
    assert sweep(down, questions_per_call=MANY) == {Outcome.POSTPONED: 3}
    assert len(down.calls) == 1


def test_a_label_of_a_category_that_is_marked_deleted_is_dropped(thread: Thread, discovery: Category):
    def mark(questions: object) -> None:
        Category.objects.filter(pk=discovery.pk).update(deleted_at=timezone.now())

    classifier = FakeClassifier(before=mark)
    assert services.label_thread(thread.pk, classifier) is Outcome.LABELLED
    thread.refresh_from_db()
    assert thread.category.title == "Troubleshooting"
    assert len(classifier.calls) == 2


def test_a_thread_whose_project_lost_its_last_category_after_the_claim_is_given_back(project: Project, thread: Thread):
    claim = claim_thread(thread.pk)
    assert claim is not None
    for category in list(project.categories.all()):
        services.delete_category(project_id=project.pk, category_id=category.pk)
    assert classify_and_record(claim, FakeClassifier()) == Outcome.DROPPED
    thread.refresh_from_db()
    assert (thread.category_source, thread.classify_attempts) == (None, 0)


def test_a_project_with_labelled_threads_can_be_deleted(project: Project, thread: Thread):
    services.label_thread(thread.pk, FakeClassifier())
    project.delete()
    assert not Thread.objects.filter(pk=thread.pk).exists()
    assert Category.objects.count() == 0
