"""The slow twin of the figures: it knows a period by nothing but the day on the team's calendar."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from insights.periods import Frequency, Period, before
from query.models import QuestionAnswer, Thread
from tests.insights.past import Past


@dataclass(frozen=True, slots=True)
class Everything:
    """Every row of a past."""

    past: Past
    threads: list[Thread]
    asked: list[QuestionAnswer]

    @classmethod
    def read(cls, past: Past) -> Everything:
        asked = QuestionAnswer.objects.filter(thread__project__team=past.team).select_related("thread")
        return cls(
            past,
            list(Thread.objects.filter(project__team=past.team)),
            sorted(asked, key=lambda each: (each.created_at, each.pk)),
        )

    def count(self, frequency: Frequency, period: Period) -> dict[str, Any]:
        """By the names of projects, what a report should say of each."""
        zone = ZoneInfo(period.time_zone)
        earlier = before(frequency, period)

        def falls(moment: datetime, into: Period) -> bool:
            return into.first <= moment.astimezone(zone).date() < into.end

        told = {}
        for project in self.past.projects:
            threads = [each for each in self.threads if each.project_id == project.pk]
            asked = [each for each in self.asked if each.thread.project_id == project.pk]
            now = [each for each in asked if falls(each.created_at, period)]
            then = [each for each in asked if falls(each.created_at, earlier)]
            begun = [thread for thread in threads if falls(thread.created_at, period)]
            begun_before = [thread for thread in threads if falls(thread.created_at, earlier)]
            titles, titles_before = (Counter(map(self._title, each)) for each in (begun, begun_before))
            told[project.name] = {
                "threads": (len(begun), len(begun_before)),
                "questions": (len(now), len(then)),
                "uncertain": (sum(each.is_uncertain for each in now), sum(each.is_uncertain for each in then)),
                "categories": {title: (titles[title], titles_before[title]) for title in titles | titles_before},
                "latest": [each.question for each in now[::-1][:5]],
                "latest_uncertain": [each.question for each in now[::-1] if each.is_uncertain][:5],
            }
        return told

    def _title(self, thread: Thread) -> str:
        return self.past.shows[thread.category_id, thread.category_source]
