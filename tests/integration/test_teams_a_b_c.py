"""Three teams with categories of their own, end to end: HTTP, a real broker, real workers and beat, a real vector
database. Categories are made by API, questions are asked by chat, labels arrive, and people have the last word.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pytest_django.live_server_helper import LiveServer

from benchmarks.team_categories import CATEGORIES_PATH
from teams import services
from teams.models import Project
from tests.conftest import ALL_SCOPES
from tests.factories.teams import ProjectFactory
from tests.plugin import Worker, _test_database_url, neighbours

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.broker]

TIMEOUT_S = 60.0
WORKER = {"CLASSIFIER": "embedding"}
BEAT = {"PLANNER_INTERVAL_S": "1", "SWEEPER_INTERVAL_S": "2"}
OWN_CATEGORIES = {row["title"]: row for row in map(json.loads, CATEGORIES_PATH.read_text("utf-8").splitlines())}
GUIDE = """# Reports

A report is sent every Monday when "weekly" is ticked in its settings.

## Sharing

A report is shared with a colleague by inviting them with their e-mail address.
"""
QUESTIONS = {
    "Discovery": "How do I share a report with a colleague?",
    "Troubleshooting": "The weekly report fails with an error since yesterday",
    "Careers": "Do you have open positions for data engineers?",
    "Legal": "What do your terms of service say about liability?",
    "Coding": "Write a Python script that downloads every report through the API",
}

Row = dict[str, Any]


class Team:
    """A team at work: what it does, it does over HTTP."""

    def __init__(self, base_url: str, project: Project) -> None:
        _, key = services.create_api_key(project=project, name="integration", scopes=ALL_SCOPES)
        self.project = project
        self.http = httpx.Client(base_url=base_url, headers={"X-API-KEY": key}, timeout=30)

    def call(self, method: str, path: str, body: object = None, *, expect: int = 200) -> Any:
        response = self.http.request(method, path, json=body)
        assert response.status_code == expect, (method, path, response.status_code, response.text)
        return response.json() if response.content else None

    def categories(self) -> dict[str, str]:
        """Ids by titles."""
        listed = self.call("GET", f"/query/v1/projects/{self.project.pk}/categories/")
        return {row["title"]: row["id"] for row in listed["results"]}

    def add_category(self, title: str) -> Row:
        path = f"/query/v1/projects/{self.project.pk}/categories/"
        return self.call("POST", path, OWN_CATEGORIES[title], expect=201)

    def teach(self) -> None:
        path = f"/knowledge/v1/projects/{self.project.pk}/documents/"
        body = {"title": "Reports", "content": GUIDE, "content_type": "text/markdown"}
        document = self.call("POST", path, body, expect=201)["id"]
        wait_until(lambda: self.call("GET", f"{path}{document}/")["state"] == "indexed")

    def ask(self, question: str) -> str:
        """The id of the thread that the question begins."""
        answer = self.call("POST", f"/query/v1/projects/{self.project.pk}/chat", {"question": question})
        assert "category" not in answer
        return answer["thread_id"]

    def thread_path(self, thread_id: str) -> str:
        return f"/query/v1/projects/{self.project.pk}/threads/{thread_id}/"

    def threads(self, **filters: str) -> dict[str, Row]:
        """The list's rows by their ids."""
        path = f"/query/v1/projects/{self.project.pk}/threads/"
        return {row["id"]: row for row in self.call("GET", str(httpx.URL(path, params=filters)))["results"]}

    def labels(self) -> dict[str, tuple[str | None, str | None]]:
        """Who gave each thread which category's title."""
        return {
            thread_id: (row["category_source"], row["category"] and row["category"]["title"])
            for thread_id, row in self.threads().items()
        }

    def wait_for_labels(self, expected: dict[str, tuple[str | None, str | None]]) -> None:
        wait_until(lambda: self.labels() == expected, lambda: f"{self.labels()} instead of {expected}")

    def decide(self, thread_id: str, category_id: str | None) -> None:
        row = self.call("PATCH", self.thread_path(thread_id), {"category": category_id})
        assert row["category_source"] == "user"
        assert (row["category"] and row["category"]["id"]) == category_id

    def forget(self, thread_id: str) -> None:
        self.call("DELETE", f"{self.thread_path(thread_id)}category/", expect=204)

    def runs(self) -> list[Row]:
        return self.call("GET", f"/query/v1/projects/{self.project.pk}/categorisation/runs/")["results"]


def wait_until(is_so: Callable[[], object], describe: Callable[[], str] = lambda: "it did not come") -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.1)


@pytest.fixture
def beat(broker: str, transactional_db: None) -> Iterator[None]:
    argv = [sys.executable, "-m", "celery", "-A", "config", "beat", "--pidfile="]
    environment = {**BEAT, "DATABASE_URL": _test_database_url()}
    child = neighbours.supervisor.start(neighbours.command(f"beat-{secrets.token_hex(3)}", argv, environment))
    yield
    neighbours.supervisor.stop(child)


@pytest.fixture
def team(
    live_server: LiveServer, vectordb_server: object, celery_worker: Callable[..., Worker], beat: None
) -> Iterator[Team]:
    """A team whose bot knows a document; a worker for the live work, one for the backfill."""
    celery_worker(queues="live,ingest,mail", concurrency=2, environment=WORKER)
    celery_worker(queues="backfill", environment=WORKER)
    team = Team(live_server.url, ProjectFactory())
    team.teach()
    yield team
    team.http.close()


def test_team_a_sorts_into_the_predefined_categories_and_has_the_last_word(team: Team):
    categories = team.categories()
    assert list(categories) == ["Discovery", "Troubleshooting"]
    discovery, trouble = team.ask(QUESTIONS["Discovery"]), team.ask(QUESTIONS["Troubleshooting"])
    labels = {discovery: ("classifier", "Discovery"), trouble: ("classifier", "Troubleshooting")}
    team.wait_for_labels(labels)
    assert list(team.threads(category=categories["Discovery"])) == [discovery]

    team.decide(discovery, categories["Troubleshooting"])
    team.decide(trouble, None)
    assert team.labels() == {discovery: ("user", "Troubleshooting"), trouble: ("user", None)}
    assert list(team.threads(category="null", category_source="user")) == [trouble]

    another = team.ask("How can I rename a report?")  # labelled after them: whoever would overwrite them had its turn
    team.forget(discovery)
    final = {discovery: ("classifier", "Discovery"), trouble: ("user", None), another: ("classifier", "Discovery")}
    team.wait_for_labels(final)
    team.call("POST", f"/query/v1/threads/{trouble}/chat", {"question": "And on Tuesdays?"})  # no new start, no label
    assert team.labels() == final


@pytest.mark.ci
def test_team_b_adds_careers_and_legal(team: Team):
    for title in ("Careers", "Legal"):
        row = team.add_category(title)
        assert (row["title"], row["examples"], row["is_predefined"]) == (
            title,
            OWN_CATEGORIES[title]["examples"],
            False,
        )
        assert row["reclassify_suggested"] is True
    categories = team.categories()
    assert set(categories) == {"Discovery", "Troubleshooting", "Careers", "Legal"}
    threads = {title: team.ask(QUESTIONS[title]) for title in categories}
    labels = {threads[title]: ("classifier", title) for title in categories}
    team.wait_for_labels(labels)
    for title, category_id in categories.items():
        assert list(team.threads(category=category_id)) == [threads[title]]

    team.decide(threads["Legal"], categories["Careers"])
    team.decide(threads["Careers"], None)
    team.decide(threads["Discovery"], categories["Legal"])
    team.forget(threads["Discovery"])
    labels |= {threads["Legal"]: ("user", "Careers"), threads["Careers"]: ("user", None)}
    team.wait_for_labels(labels)
    assert list(team.threads(category=categories["Careers"])) == [threads["Legal"]]


@pytest.mark.ci
def test_team_c_replaces_discovery_by_coding(team: Team):
    old = team.categories()
    howto, code, trouble, decided, cleared = (
        team.ask(question)
        for question in (
            QUESTIONS["Discovery"],
            QUESTIONS["Coding"],
            QUESTIONS["Troubleshooting"],
            "Which Java method do I call to list the reports?",
            "Where are you from?",
        )
    )
    wait_until(lambda: all(source for source, _ in team.labels().values()))
    for thread_id in (code, decided):
        team.decide(thread_id, old["Discovery"])
    team.decide(trouble, old["Troubleshooting"])
    team.decide(cleared, None)

    coding = team.add_category("Coding")
    assert coding["reclassify_suggested"] is True
    team.call("DELETE", f"/query/v1/projects/{team.project.pk}/categories/{old['Discovery']}/", expect=204)
    assert "Discovery" not in {title for _, title in team.labels().values()}  # from that moment
    assert team.categories() == {"Troubleshooting": old["Troubleshooting"], "Coding": coding["id"]}
    team.call("GET", f"/query/v1/projects/{team.project.pk}/categories/{old['Discovery']}/", expect=404)

    wait_until(lambda: all(source for source, _ in team.labels().values()), lambda: str(team.labels()))
    labels = team.labels()
    assert labels[code] == labels[decided] == ("classifier", "Coding")  # a person's label went with its category
    assert labels[trouble] == ("user", "Troubleshooting")
    assert labels[cleared] == ("user", None)
    assert labels[howto][0] == "classifier"
    wait_until(lambda: [run["state"] for run in team.runs()] == ["done"], lambda: str(team.runs()))
    (run,) = team.runs()
    assert (run["kind"], run["total"], run["done"], run["failed"]) == ("category_deleted", 3, 3, 0)

    new = team.ask("How would I fetch one report with curl?")
    labels[new] = ("classifier", "Coding")
    team.wait_for_labels(labels)
    team.decide(new, old["Troubleshooting"])
    team.decide(code, None)
    team.forget(new)
    team.wait_for_labels(labels | {code: ("user", None)})
