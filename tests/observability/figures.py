"""Reading what a server tells Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Figures:
    """One scrape."""

    samples: Mapping[str, Mapping[Labels, float]]

    @classmethod
    def parse(cls, text: str) -> Figures:
        samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return cls(samples)

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of that name that bear these labels."""
        wanted = frozenset(labels.items())
        return sum(value for borne, value in self.samples.get(name, {}).items() if wanted <= borne)

    def values_of(self, label: str) -> set[str]:
        """Everything that the label says anywhere."""
        return {dict(borne)[label] for each in self.samples.values() for borne in each if label in dict(borne)}

    @property
    def counters(self) -> dict[tuple[str, Labels], float]:
        """What must never go backwards."""
        return {
            (name, borne): value
            for name, each in self.samples.items()
            for borne, value in each.items()
            if name.endswith(("_total", "_bucket", "_count", "_sum"))
        }


def scrape(client: httpx.Client, **headers: str) -> Figures:
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    return Figures.parse(response.text)
