"""How well the embedding classifier sorts into categories of a team's own: `python -m benchmarks.team_categories`.

Five categories: the two predefined ones as they are seeded, and three that teams define by a title, a description and
five examples (data/team_categories.jsonl). Twenty questions for each (data/team_questions.jsonl), which were written
down before the classifier was run on any, and are never tuned on. Each team's questions are sorted into that team's
categories, and all of them into all five; these also with less said about the team's own categories, to show what
descriptions and examples are worth.

Exits with 1 when a balanced accuracy is below the gate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.classifier_accuracy import Labelled, Outcome
from categorisation.classifiers import CategorySpec, Classifier, EmbeddingClassifier
from categorisation.predefined import PREDEFINED_CATEGORIES
from knowledge.embedders import MiniLMEmbedder

DATA = Path(__file__).parent / "data"
CATEGORIES_PATH = DATA / "team_categories.jsonl"
QUESTIONS_PATH = DATA / "team_questions.jsonl"
BALANCED_ACCURACY_GATE = 0.80
TEAMS = {
    "Team A": ("Discovery", "Troubleshooting"),
    "Team B": ("Discovery", "Troubleshooting", "Careers", "Legal"),
    "Team C": ("Troubleshooting", "Coding"),
    "all five": ("Discovery", "Troubleshooting", "Careers", "Legal", "Coding"),
}


def read_categories() -> dict[str, CategorySpec]:
    """By title, which stands for the id too."""
    specs = [
        CategorySpec(category.title, category.title, category.description, category.examples, category.cues)
        for category in PREDEFINED_CATEGORIES
    ]
    specs += [
        CategorySpec(row["title"], row["title"], row["description"], tuple(row["examples"]))
        for row in _read_lines(CATEGORIES_PATH)
    ]
    return {spec.id: spec for spec in specs}


def read_questions() -> list[Labelled]:
    return [Labelled(row["id"], row["question"], row["category"]) for row in _read_lines(QUESTIONS_PATH)]


def keep_all(spec: CategorySpec) -> CategorySpec:
    return spec


# what is left of a category of a team's own
LESS_SAID: dict[str, Callable[[CategorySpec], CategorySpec]] = {
    "a title alone": lambda spec: replace(spec, description="", examples=()),
    "a description, no examples": lambda spec: replace(spec, examples=()),
    "a description, one example": lambda spec: replace(spec, examples=spec.examples[:1]),
    "a description, three examples": lambda spec: replace(spec, examples=spec.examples[:3]),
    "five examples, no description": lambda spec: replace(spec, description=""),
    "a description, five examples": keep_all,
}


def judge(classifier: Classifier, team: str, tell: Callable[[CategorySpec], CategorySpec] = keep_all) -> Outcome:
    """Sort the questions of a team's categories into these; of its own the classifier is told what `tell` keeps."""
    titles = TEAMS[team]
    predefined = {category.title for category in PREDEFINED_CATEGORIES}
    categories = {title: spec if title in predefined else tell(spec) for title, spec in read_categories().items()}
    rows = [row for row in read_questions() if row.category in titles]
    found = classifier.classify([row.question for row in rows], [categories[title] for title in titles])
    return Outcome(list(zip(rows, found, strict=True)))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    classifier = EmbeddingClassifier(MiniLMEmbedder())
    is_good_enough = True
    for team in TEAMS:
        outcome = judge(classifier, team)
        recalls = ", ".join(f"{title} {recall:.2f}" for title, recall in outcome.recalls.items())
        print(f"{team}: {len(outcome.pairs)} questions, balanced accuracy {outcome.balanced_accuracy:.3f} ({recalls})")
        is_good_enough &= outcome.balanced_accuracy >= BALANCED_ACCURACY_GATE
    print("all five, by what is said about Careers, Legal and Coding:")
    for name, tell in LESS_SAID.items():
        print(f"  {name}: balanced accuracy {judge(classifier, 'all five', tell).balanced_accuracy:.3f}")
    return 0 if is_good_enough else 1


if __name__ == "__main__":
    sys.exit(main())
