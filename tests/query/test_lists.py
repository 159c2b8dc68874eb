"""Pages of many threads: what they hold, what they ask the database, and which index answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from benchmarks.seeding import Label, Mix, seed_threads
from categorisation.models import Category
from config.pagination import Cursor
from query.models import Thread
from teams.models import Project
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db(transaction=True)  # so that the table is vacuumed, as one in use is

COUNT = 20_000
HALF = COUNT // 2
NEWEST = datetime(2030, 1, 1, tzinfo=UTC)
UPDATED = NEWEST + timedelta(days=1)
PAGE = 101  # with the row that tells whether there are more
WALK = 5_000  # of a sieve: a thousand rows of each label, some counted twice


@dataclass(frozen=True)
class Many:
    """A project with 20,000 threads: `common` is the category of half of them, `rare` of ten."""

    project: Project
    common: Category
    rare: Category

    @property
    def path(self) -> str:
        return f"/query/v1/projects/{self.project.pk}/threads/"


@pytest.fixture
def many(project: Project) -> Many:
    common, rare = project.categories.order_by("created_at", "id")
    labels = {
        Label(common.pk, "classifier"): HALF * 4 // 5,
        Label(common.pk, "user"): HALF // 5,
        Label(rare.pk, "classifier"): 5,
        Label(rare.pk, "user"): 5,
        Label(None, "user"): HALF // 2,
    }
    words = {"halfword": HALF, "tenword": 10}
    mix = Mix(COUNT, labels=labels, uncertain=HALF, updated={UPDATED: HALF}, words=words)
    seed_threads(project.pk, COUNT, newest=NEWEST, describe=mix)
    return Many(project, common, rare)


def pages(api: APIClient, path: str, query: dict[str, str]) -> Iterator[list[str]]:
    """The ids of each page, following `next`."""
    page = api.get(path, query).json()
    while True:
        yield [row["id"] for row in page["results"]]
        if page["next"] is None:
            return
        page = api.get(page["next"]).json()


@pytest.mark.parametrize("filters", [{}, {"category": "common"}, {"search": "halfword"}], ids=str)
def test_check_18_paging_under_inserts_skips_and_repeats_nothing(many: Many, api: APIClient, filters: dict[str, str]):
    threads = Thread.objects.filter(project=many.project)
    if "category" in filters:
        threads, filters = threads.filter(category=many.common), {"category": str(many.common.pk)}
    if "search" in filters:
        threads = threads.filter(first_question__contains=filters["search"])
    expected = [str(pk) for pk in threads.order_by("-created_at", "-id").values_list("pk", flat=True)]
    label = {"category": many.common, "category_source": "user", "categorised_at": NEWEST}
    seen: list[str] = []
    for page in pages(api, many.path, {**filters, "page_size": "500"}):
        seen += page
        ThreadFactory(project=many.project, created_at=UPDATED, first_question="halfword", **label)
    assert seen == expected


FILTERS: dict[str, tuple[dict[str, str], str]] = {
    "none": ({}, "thread_newest_first"),
    "category": ({"category": "common"}, "thread_by_label"),
    "rare category": ({"category": "rare"}, "thread_by_label"),
    "no category": ({"category": "null"}, "thread_by_label"),
    "classifier": ({"category_source": "classifier"}, "thread_by_label"),
    "user": ({"category_source": "user"}, "thread_by_label"),
    "category and source": ({"category": "common", "category_source": "user"}, "thread_by_label"),
    "uncertain": ({"is_uncertain": "true"}, "thread_by_uncertainty"),
    "certain": ({"is_uncertain": "false"}, "thread_by_uncertainty"),
    "updated": ({"updated_since": UPDATED.isoformat()}, "thread_newest_first"),
    "uncertain of a category": ({"category": "common", "is_uncertain": "true"}, "thread_by_label"),
    "updated of a category": ({"category": "rare", "updated_since": UPDATED.isoformat()}, "thread_by_label"),
    "updated by nobody": ({"updated_since": (UPDATED + timedelta(1)).isoformat()}, "thread_by_update"),
    "after": ({"created_after": (NEWEST - timedelta(180)).isoformat()}, "thread_newest_first"),
    "before": ({"created_before": (NEWEST - timedelta(180)).isoformat()}, "thread_newest_first"),
    "common word": ({"search": "halfword"}, "thread_newest_first"),
    "rare word": ({"search": "tenword"}, "thread_first_question_words"),
    "unknown word": ({"search": "noword"}, "thread_first_question_words"),
}


def asked(api: APIClient, many: Many, filters: dict[str, str]) -> list[str]:
    """What a page asks the database for threads."""
    ids = {"common": str(many.common.pk), "rare": str(many.rare.pk)}
    query = {name: ids.get(value, value) for name, value in filters.items()}
    with CaptureQueriesContext(connection) as captured:
        response = api.get(many.path, query)
    assert response.status_code == 200, response.json()
    return [query["sql"] for query in captured if 'FROM "query_thread"' in query["sql"]]


def explained(statement: str) -> Iterator[dict[str, Any]]:
    """The nodes of the plan, as they were carried out."""
    with transaction.atomic(), connection.cursor() as cursor:
        for way in ("seqscan", "hashjoin", "mergejoin"):  # so few rows are read sooner as a whole than by their keys
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        (plan,) = cursor.fetchone()
    nodes = [(plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        yield node


def is_sieved(filters: dict[str, str]) -> bool:
    """Whether a stretch of the list is walked, and another index asked when that does not fill the page."""
    return bool({"search", "updated_since"} & filters.keys()) or {"category", "is_uncertain"} <= filters.keys()


def rows_read(node: dict[str, Any]) -> float:
    return (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]


@pytest.mark.parametrize("is_being_emptied", [False, True])
def test_check_18_an_index_answers_each_filter_and_reads_little_more_than_a_page(
    many: Many, api: APIClient, is_being_emptied: bool
):
    if is_being_emptied:
        Category.objects.filter(pk=many.common.pk).update(deleted_at=NEWEST)
    for name, (filters, index) in FILTERS.items():
        if is_being_emptied and "common" in filters.values():
            continue  # what is deleted is no filter
        for query in (filters, {**filters, "cursor": cursor_in_the_middle()}):
            nodes = [node for statement in asked(api, many, query) for node in explained(statement)]
            scans = [node for node in nodes if node.get("Relation Name") == "query_thread" or "Index Name" in node]
            assert index in {node.get("Index Name") for node in scans}, name
            assert not [node for node in scans if node["Node Type"] == "Seq Scan"], name
            assert max(map(rows_read, scans)) <= (WALK if is_sieved(filters) else 6 * PAGE), name


def test_check_18_another_projects_many_changes_do_not_mislead_the_planner(many: Many, api: APIClient):
    """By its statistics half of all threads were changed lately, and of a million it would read each."""
    lately = UPDATED + timedelta(1)
    elsewhere = ProjectFactory().pk
    seed_threads(elsewhere, COUNT, newest=NEWEST, describe=Mix(COUNT, updated={lately: COUNT}))
    few = Thread.objects.filter(project=many.project).order_by("created_at").values("pk")[:10]
    Thread.objects.filter(pk__in=few).update(updated_at=lately)
    statements = asked(api, many, {"updated_since": lately.isoformat()})
    scans = [node for node in explained(statements[-1]) if node.get("Index Name") == "thread_by_update"]
    assert [rows_read(node) for node in scans] == [10]
    assert scans[0]["Plan Rows"] < COUNT // 50


def test_check_18_the_number_of_queries_is_the_same_for_every_page(many: Many, api: APIClient):
    for name, (filters, _) in FILTERS.items():
        counts = {
            len(asked(api, many, {**filters, **place, "page_size": size}))
            for place in ({}, {"cursor": cursor_in_the_middle()})
            for size in ("1", "100", "500")
        }
        assert max(counts) - min(counts) <= (1 if is_sieved(filters) else 0), name


def test_what_is_sieved_is_what_a_naive_filter_leaves(many: Many, api: APIClient):
    threads = Thread.objects.filter(project=many.project)
    twins = {
        "halfword": (threads.filter(first_question__contains="halfword"), {"search": "halfword"}),
        "tenword": (threads.filter(first_question__contains="tenword"), {"search": "tenword"}),
        "updated": (threads.filter(updated_at__gte=UPDATED), {"updated_since": UPDATED.isoformat()}),
        "all at once": (
            threads.filter(
                category=many.common,
                category_source="user",
                is_uncertain=True,
                updated_at__gte=UPDATED,
                first_question__contains="halfword",
            ),
            {
                "category": str(many.common.pk),
                "category_source": "user",
                "is_uncertain": "true",
                "updated_since": UPDATED.isoformat(),
                "search": "halfword",
            },
        ),
    }
    for name, (naive, query) in twins.items():
        expected = [str(pk) for pk in naive.order_by("-created_at", "-id").values_list("pk", flat=True)]
        assert expected, name
        assert [row for page in pages(api, many.path, {**query, "page_size": "500"}) for row in page] == expected, name


def cursor_in_the_middle() -> str:
    middle = Thread.objects.order_by("-created_at", "-id")[HALF]
    return Cursor(middle.created_at, middle.pk).encode()
