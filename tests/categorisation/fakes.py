from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from categorisation.classifiers import CategorySpec, Classification

Choice = Callable[[str, Sequence[CategorySpec]], str]


def first_category(question: str, categories: Sequence[CategorySpec]) -> str:
    return categories[0].id


class FakeClassifier:
    """A Classifier that chooses as told, and remembers the questions of each call.

    `before` runs in every call before anything else: it may wait, act as somebody else, or raise.
    """

    version = "fake-1"

    def __init__(
        self,
        choose: Choice = first_category,
        *,
        confidence: float = 0.75,
        before: Callable[[Sequence[str]], None] = lambda questions: None,
    ) -> None:
        self._choose = choose
        self._confidence = confidence
        self._before = before
        self._lock = threading.Lock()
        self.calls: list[list[str]] = []
        self.seen: list[tuple[CategorySpec, ...]] = []

    def classify(self, questions: Sequence[str], categories: Sequence[CategorySpec]) -> list[Classification]:
        with self._lock:
            self.calls.append(list(questions))
            self.seen.append(tuple(categories))
        self._before(questions)
        return [Classification(self._choose(question, categories), self._confidence) for question in questions]


def preferring(category_id: object) -> Choice:
    """That category, or, when it is not there to be chosen, the first."""

    def choose(question: str, categories: Sequence[CategorySpec]) -> str:
        ids = [category.id for category in categories]
        return str(category_id) if str(category_id) in ids else ids[0]

    return choose


def titled(title: str) -> Choice:
    """Always the category of that title."""
    return lambda question, categories: next(category.id for category in categories if category.title == title)


def raising(error: Exception, *, on: str = "") -> Callable[[Sequence[str]], None]:
    """For `before`: raises when a question of the call contains `on`."""

    def raise_on(questions: Sequence[str]) -> None:
        if any(on in question for question in questions):
            raise error

    return raise_on


def factory_of_fakes() -> FakeClassifier:
    """What a dotted path in CLASSIFIER names."""
    return FakeClassifier()


class HangingClassifier(FakeClassifier):
    """Never answers a question that says so: what somebody's client does that has no timeout."""

    def __init__(self) -> None:
        super().__init__(before=lambda questions: "hang" in questions[0] and threading.Event().wait())


NOT_CALLABLE = 42
