"""The alerts name figures that exist, with labels that they have; so does the guide for operators."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from categorisation.services.backlog import OpenRuns, Unlabelled
from config.celery import app
from config.waiting import Rows, Waiting
from knowledge.selectors import Pending
from observability import metrics
from vectordb.engine import Database
from vectordb.server.metrics import Libraries, ServerMetrics

ROOT = Path(__file__).resolve().parents[2]
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
SELECTOR = re.compile(r"\b((?:parley|vectordb)_[a-z_]+)(?:\{([^}]*)\})?")
OF_PROMETHEUS = {"le", "instance", "job"}


@pytest.fixture(scope="module")
def labels_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every figure's name, as samples bear it, and its labels."""
    database = Database(tmp_path_factory.mktemp("vectordb") / "data")
    rows = Rows(
        unlabelled={"live": Unlabelled(1, 1.0), "old": Unlabelled(1, 1.0)},
        given_up=1,
        runs=[OpenRuns("a", "b", 1, 1)],
        documents=Pending(1, 1.0),
        reports={"due": 1},
    )
    asked = [Waiting(lambda: rows, lambda: {"live": 1}), Libraries(database)]
    found = {
        sample.name: set(sample.labels) for each in asked for metric in each.collect() for sample in metric.samples
    }
    database.close()
    for registry in (metrics.REGISTRY, ServerMetrics().registry):
        for counted, names in registry._collector_to_names.items():
            for name in names:
                found.setdefault(name, set(getattr(counted, "_labelnames", ())))
    return found


def test_every_rule_says_what_it_is_about():
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_every_figure_in_the_alerts_exists_with_its_labels(labels_of: dict[str, set[str]]):
    for rule in RULES:
        selectors = SELECTOR.findall(rule["expr"])
        assert selectors or rule["expr"].startswith("up{"), rule
        grouped = {
            label for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in re.split(r",\s*", labels)
        }
        known = set().union(*(labels_of[name] for name, _ in selectors)) if selectors else set()
        assert grouped <= known | OF_PROMETHEUS, rule
        for name, matchers in selectors:
            assert name in labels_of, f"{rule['alert']}: there is no {name}"
            assert set(re.findall(r"(\w+)[!=]~?=?\"", matchers)) <= labels_of[name] | OF_PROMETHEUS, rule


def test_every_task_in_the_alerts_exists():
    app.loader.import_default_modules()
    named = {task for rule in RULES for task in re.findall(r'task="([^"]*)"', rule["expr"])}
    assert named
    assert named <= set(app.tasks)


def test_every_figure_in_the_guide_exists(labels_of: dict[str, set[str]]):
    guide = (ROOT / "docs" / "operations.md").read_text()
    named = set(re.findall(r"`((?:parley|vectordb)_[a-z_]+)", guide))
    assert len(named) > 10
    assert named <= set(labels_of)
