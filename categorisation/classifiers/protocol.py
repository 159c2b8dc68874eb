"""The role of a classifier: questions and categories in, one classification for each question out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CategorySpec:
    """All that a classifier is told about a category. Every text may be empty."""

    id: str
    title: str
    description: str = ""
    examples: tuple[str, ...] = ()
    cues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classification:
    """The category that a classifier computed, and how sure it is, from 0 to 1."""

    category_id: str
    confidence: float


class Classifier(Protocol):
    """Sorts questions into categories. Implementations are safe to call from several lanes at once.

    Two hints may be given besides, as attributes or properties: `questions_per_call`, how many questions a call takes
    with gain (1 otherwise), and `calls_at_once`, from how many calls at once on nothing more is gained (None, as
    otherwise: as many as there are lanes).
    """

    @property
    def version(self) -> str:
        """Changes whenever the same question and categories may get another classification."""
        ...

    def classify(self, questions: Sequence[str], categories: Sequence[CategorySpec]) -> list[Classification]:
        """Return one classification for each question, in order.

        Raises ClassifierUnavailable when another try makes sense later, ClassifierError when it does not (as when
        `categories` is empty).
        """
        ...
