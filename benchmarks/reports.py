"""What a usage report costs beside a million conversations: `python -m benchmarks.reports --help`.

A team's project of a million conversations with two questions each, spread over a year, beside another team's of as
many. Told are how long the figures of a day, a week, two weeks and a month take, and by which indexes they are found;
once as it is, and once after a re-run has touched every conversation. Then, how long it takes to plan the reports of
ten thousand users, and to plan them again when all are there.

Gates: a day's figures within a second, a week's within four, a month's within fifteen, after a re-run too; a day's and
a week's are found by indexes. Ends non-zero when one is missed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.surroundings import Surroundings

if TYPE_CHECKING:
    from insights.periods import Frequency
    from teams.models import Team

GATES_S = {"daily": 1.0, "weekly": 4.0, "biweekly": 8.0, "monthly": 15.0}
BY_INDEX = ("daily", "weekly")  # of longer periods an index finds too large a part of so few projects
ROUNDS = 3
AS_IT_IS = "as it is"
USERS = 10_000
SCAN = re.compile(r"(Seq Scan|(?:Bitmap )?Index (?:Only )?Scan)(?: using| on)? (\w+)")
TABLES = ("query_thread", "query_questionanswer")
QUESTIONS = """
INSERT INTO query_questionanswer (
    id, thread_id, question, standalone_question, answer, is_uncertain, relevant_sources, timings, created_at
)
SELECT gen_random_uuid(), t.id, t.first_question, t.first_question, repeat('You do it like this [1]. ', 12),
    n = 2 AND random() < 0.2, '[]', '{}', t.created_at + (n - 1) * interval '1 hour'
FROM query_thread t, generate_series(1, 2) AS n
"""
A_RE_RUN = "UPDATE query_thread SET updated_at = now()"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1_000_000, help="of each of the two teams")
    count = parser.parse_args().threads
    os.environ.pop("DATABASE_URL", None)  # never somebody else's conversations
    with Surroundings(is_durable=False) as surroundings:
        surroundings.prepare_database()
        team = seed(count)
        misses = measure(team, AS_IT_IS)
        execute(A_RE_RUN, "VACUUM ANALYZE query_thread")
        misses += measure(team, "after a re-run of all")
        plan_reports()
    if misses:
        print("Below the gates:", *misses, sep="\n  ", file=sys.stderr)
    return 1 if misses else 0


def seed(count: int) -> Team:
    from benchmarks.seeding import Label, Mix, seed_threads
    from teams.services import create_project

    teams = []
    for name in ("benchmark", "another benchmark"):
        project = create_project(team_name=name, name="Bot")
        labels = {Label(each.pk, "classifier"): count // 4 for each in project.categories.all()}
        seed_threads(project.pk, count, newest=datetime.now(UTC), describe=Mix(count, labels=labels))
        teams.append(project.team)
    execute(
        QUESTIONS,
        "UPDATE query_thread SET total_questions = 2, last_activity_at = created_at + interval '1 hour',"
        " updated_at = greatest(updated_at, created_at + interval '1 hour')",
        "VACUUM ANALYZE query_thread, query_questionanswer",
    )
    return teams[0]


def execute(*statements: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def measure(team: Team, when: str) -> list[str]:
    from insights.reports.planning import FREQUENCIES

    misses = []
    for frequency in FREQUENCIES:
        took_s, questions, scans = count_figures(team, frequency)
        by = ", ".join(sorted(scans))
        print(f"{when}: {frequency.value}: {min(took_s):.2f} to {max(took_s):.2f} s, {questions:,} questions; {by}")
        if max(took_s) >= GATES_S[frequency.value]:
            misses.append(f"{when}, {frequency.value}: {max(took_s):.2f} s")
        if frequency.value in BY_INDEX and when == AS_IT_IS:
            misses += [f"{when}, {frequency.value}: {scan}" for scan in scans if scan.startswith("Seq Scan")]
    return misses


def count_figures(team: Team, frequency: Frequency) -> tuple[list[float], int, set[str]]:
    """How long it took each time, of how many questions it tells, and how conversations were found."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from insights.periods import last_complete
    from insights.reports.sending import count_for

    took_s, figures = [], None
    period = last_complete(frequency, datetime.now(UTC), "Europe/Zurich")
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        figures = count_for(team, frequency, period)
        took_s.append(time.perf_counter() - begun)
    with CaptureQueriesContext(connection) as asked:
        count_for(team, frequency, period)
    assert figures is not None
    return took_s, figures.questions.now, set().union(*(scans_of(each["sql"]) for each in asked.captured_queries))


def scans_of(sql: str) -> set[str]:
    """The scans of conversations' tables in a query's plan, and their indexes."""
    from django.db import connection

    if not any(table in sql for table in TABLES):
        return set()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        lines: list[Any] = [row[0] for row in cursor.fetchall()]
    found = filter(None, (SCAN.search(line) for line in lines))
    return {f"{match[1]} {match[2]}" for match in found if match[2] not in TABLES or match[1] == "Seq Scan"}


def plan_reports() -> None:
    from insights.periods import Frequency
    from insights.reports.planning import Choices, plan
    from teams.models import Team, User

    team = Team.objects.create(name="Many", time_zone="Europe/Zurich")
    users = User.objects.bulk_create(User(email=f"user{number}@example.com") for number in range(USERS))
    through = User.teams.through
    through.objects.bulk_create(through(user=user, team=team) for user in users)
    now = datetime.now(UTC)
    monday = (now - timedelta(days=now.weekday())).replace(hour=12)
    for what in ("planned", "planned again"):
        begun = time.perf_counter()
        made = plan(monday, Choices(Frequency.WEEKLY, 7)).due
        print(f"{made:,} reports {what} in {time.perf_counter() - begun:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
