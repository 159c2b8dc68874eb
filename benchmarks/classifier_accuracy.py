"""How often the embedding classifier is right: `python -m benchmarks.classifier_accuracy QUESTIONS.jsonl`.

Each line of the file is an object with `id`, `question` (a title) and `category` (the title of a predefined category,
given by hand). The hash of the id splits the lines into two halves for ever: constants are tuned on half A, half B is
only looked at.

Exits with 1 below the gates (half B and all), 2 when the file cannot be used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from categorisation.classifiers import CategorySpec, Classification, EmbeddingClassifier
from categorisation.predefined import PREDEFINED_CATEGORIES
from knowledge.embedders import MiniLMEmbedder

ACCURACY_GATE = 0.90
BALANCED_ACCURACY_GATE = 0.88


@dataclass(frozen=True, slots=True)
class Labelled:
    id: str
    question: str
    category: str

    @property
    def is_in_half_a(self) -> bool:
        return hashlib.sha256(self.id.encode()).digest()[0] % 2 == 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Right labels and computed classifications of some questions, side by side."""

    pairs: list[tuple[Labelled, Classification]]

    @property
    def accuracy(self) -> float:
        return sum(row.category == found.category_id for row, found in self.pairs) / len(self.pairs)

    @property
    def recalls(self) -> dict[str, float]:
        sizes = Counter(row.category for row, _ in self.pairs)
        hits = Counter(row.category for row, found in self.pairs if row.category == found.category_id)
        return {title: hits[title] / size for title, size in sorted(sizes.items())}

    @property
    def balanced_accuracy(self) -> float:
        return sum(self.recalls.values()) / len(self.recalls)

    @property
    def mean_confidence(self) -> float:
        return sum(found.confidence for _, found in self.pairs) / len(self.pairs)

    @property
    def is_good_enough(self) -> bool:
        return self.accuracy >= ACCURACY_GATE and self.balanced_accuracy >= BALANCED_ACCURACY_GATE


def read_questions(path: Path) -> list[Labelled]:
    """Raises OSError, ValueError or KeyError when the file is not as the module describes."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    labelled = [Labelled(str(row["id"]), row["question"], row["category"]) for row in rows]
    unknown = {row.category for row in labelled} - {category.title for category in PREDEFINED_CATEGORIES}
    if unknown:
        raise ValueError(f"unknown categories: {sorted(unknown)}")
    if len({row.is_in_half_a for row in labelled}) < 2:
        raise ValueError("too few questions: one half has none")
    return labelled


def classify(rows: list[Labelled]) -> Outcome:
    specs = [
        CategorySpec(category.title, category.title, category.description, category.examples, category.cues)
        for category in PREDEFINED_CATEGORIES
    ]
    found = EmbeddingClassifier(MiniLMEmbedder()).classify([row.question for row in rows], specs)
    return Outcome(list(zip(rows, found, strict=True)))


def report(name: str, outcome: Outcome) -> None:
    recalls = ", ".join(f"{title} {recall:.3f}" for title, recall in outcome.recalls.items())
    print(f"{name}: {len(outcome.pairs)} questions")
    print(f"  accuracy {outcome.accuracy:.3f}, balanced {outcome.balanced_accuracy:.3f} (recall: {recalls})")
    print(f"  mean confidence {outcome.mean_confidence:.3f}")
    for (right, computed), count in sorted(Counter((row.category, c.category_id) for row, c in outcome.pairs).items()):
        print(f"  {right:>16} -> {computed:<16} {count:>4}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--show-errors", action="store_true", help="print half A's wrong classifications")
    options = parser.parse_args()
    try:
        rows = read_questions(options.questions)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        sys.stderr.write(f"{options.questions} cannot be used: {exc}\n")
        return 2
    everything = classify(rows)
    half_a = Outcome([pair for pair in everything.pairs if pair[0].is_in_half_a])
    half_b = Outcome([pair for pair in everything.pairs if not pair[0].is_in_half_a])
    for name, outcome in (("half A (tuned on)", half_a), ("half B", half_b), ("all", everything)):
        report(name, outcome)
    if options.show_errors:
        for row, found in half_a.pairs:
            if row.category != found.category_id:
                print(f"  {row.category} -> {found.category_id} {found.confidence:.2f}: {row.question}")
    return 0 if half_b.is_good_enough and everything.is_good_enough else 1


if __name__ == "__main__":
    sys.exit(main())
