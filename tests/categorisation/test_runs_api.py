from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from categorisation import services
from categorisation.models import Category, Run, Taxonomy
from categorisation.services.history import SHELL
from query.models import Thread
from teams.models import Project
from tests.factories.categorisation import CategoryFactory
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db

DRAFT = {"title": "Coding", "description": "How to do something.", "examples": ["How do I page?"]}
BODIES: dict[str, Any] = {
    "backfill": {"kind": "backfill"},
    "reclassify": {"scope": "all"},
    "preview": {"categories": [DRAFT], "sample_size": 10},
}
ROW = ["id", "kind", "state", "total", "done", "failed", "started_at", "finished_at", "eta_seconds", "result"]


def runs_url(project: Project, run: Run | uuid.UUID | None = None, action: str = "") -> str:
    end = f"{run.pk if isinstance(run, Run) else run}/" if run else ""
    return f"/query/v1/projects/{project.pk}/categorisation/runs/{end}{action}"


def start_url(project: Project, kind: str) -> str:
    return runs_url(project) if kind == "backfill" else f"/query/v1/projects/{project.pk}/categories/{kind}/"


def start(api: APIClient, project: Project, kind: str) -> Run:
    answer = api.post(start_url(project, kind), BODIES[kind])
    assert answer.status_code == 202, answer.json()
    return Run.objects.get(pk=answer.json()["id"])


def deletion(project: Project) -> Run:
    category = CategoryFactory(project=project)
    return services.delete_category(project_id=project.pk, category_id=category.pk)


@pytest.mark.parametrize("kind", BODIES)
def test_a_run_is_started_and_read(api: APIClient, project: Project, kind: str):
    answer = api.post(start_url(project, kind), BODIES[kind])

    assert answer.status_code == 202
    row = answer.json()
    assert list(row) == ROW
    assert (row["kind"], row["state"], row["finished_at"], row["eta_seconds"]) == (kind, "running", None, None)
    assert row == api.get(runs_url(project, uuid.UUID(row["id"]))).json()
    run = Run.objects.get(pk=row["id"])
    assert (run.started_by_kind, run.taxonomy_version) == ("key", project.taxonomy.version)
    assert run.started_by.startswith("test (parley_")


@pytest.mark.parametrize("kind", BODIES)
def test_a_second_open_one_of_the_kind_is_a_conflict(api: APIClient, project: Project, kind: str):
    run = start(api, project, kind)
    for action in ("pause/", "cancel/"):
        again = api.post(start_url(project, kind), BODIES[kind])
        assert again.status_code == 409
        assert again.json()["errors"][0]["code"] == "conflict"
        assert api.post(runs_url(project, run, action)).status_code == 200
    assert start(api, project, kind) != run


def test_runs_of_different_kinds_and_projects_stand_side_by_side(
    api: APIClient, client_of: Callable[..., APIClient], project: Project
):
    for kind in BODIES:
        start(api, project, kind)
    deletion(project)
    deletion(project)
    other = ProjectFactory()
    start(client_of(other), other, "backfill")
    assert Run.objects.filter(project=project, state="running").count() == 5


def test_runs_are_listed_the_newest_first_in_pages(api: APIClient, project: Project):
    runs = [start(api, project, kind) for kind in BODIES]
    deletion(ProjectFactory())
    first = api.get(runs_url(project), {"page_size": 2}).json()
    second = api.get(first["next"]).json()
    assert [row["id"] for row in first["results"] + second["results"]] == [str(run.pk) for run in reversed(runs)]
    assert second["next"] is None


def test_a_run_is_paused_and_resumed(api: APIClient, project: Project):
    run = start(api, project, "backfill")
    for action, state in (("pause", "paused"), ("resume", "running"), ("pause", "paused"), ("cancel", "cancelled")):
        row = api.post(runs_url(project, run, f"{action}/")).json()
        assert row["state"] == state
    assert row["finished_at"] is not None
    run.refresh_from_db()
    assert [event["event"] for event in run.events] == ["paused", "resumed", "paused", "cancelled"]
    assert {event["by"] for event in run.events} == {run.started_by}


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ("running", ["resume"]),
        ("paused", ["pause"]),
        ("done", ["pause", "resume", "cancel"]),
        ("cancelled", ["pause", "resume", "cancel"]),
    ],
)
def test_what_the_state_does_not_allow_is_a_conflict(api: APIClient, project: Project, state: str, refused: list[str]):
    run = start(api, project, "backfill")
    ended = timezone.now() if state in ("done", "cancelled") else None
    Run.objects.filter(pk=run.pk).update(state=state, finished_at=ended)
    for action in refused:
        answer = api.post(runs_url(project, run, f"{action}/"))
        assert answer.status_code == 409
        assert state in answer.json()["errors"][0]["detail"]
    assert api.get(runs_url(project, run)).json()["state"] == state


def test_a_deletions_run_may_be_paused_but_not_cancelled(api: APIClient, project: Project):
    run = deletion(project)
    assert api.post(runs_url(project, run, "pause/")).status_code == 200
    assert api.post(runs_url(project, run, "cancel/")).status_code == 409
    assert api.post(runs_url(project, run, "resume/")).status_code == 200


def test_cancelling_a_backfill_suspends_it_until_someone_starts_one(api: APIClient, project: Project):
    run = start(api, project, "backfill")
    api.post(runs_url(project, run, "cancel/"))
    assert Taxonomy.objects.get(project=project).backfill_is_suspended
    for kind in ("reclassify", "preview"):
        start(api, project, kind)
    deletion(project)
    assert Taxonomy.objects.get(project=project).backfill_is_suspended
    start(api, project, "backfill")
    assert not Taxonomy.objects.get(project=project).backfill_is_suspended


@pytest.mark.parametrize("kind", ["reclassify", "preview"])
def test_cancelling_another_kind_suspends_nothing(api: APIClient, project: Project, kind: str):
    api.post(runs_url(project, start(api, project, kind), "cancel/"))
    assert not Taxonomy.objects.get(project=project).backfill_is_suspended


def test_a_run_tells_its_progress_and_the_time_left(api: APIClient, project: Project):
    run = start(api, project, "backfill")
    Run.objects.filter(pk=run.pk).update(total=100, done=30, failed=10, reused=5, rate_per_s=4.0)
    row = api.get(runs_url(project, run)).json()
    assert (row["total"], row["done"], row["failed"]) == (100, 30, 10)
    assert row["eta_seconds"] == 15.0
    assert row["result"] == {"reused": 5}
    assert api.post(runs_url(project, run, "pause/")).json()["eta_seconds"] is None


@pytest.mark.parametrize(
    ("kind", "body", "attr"),
    [
        ("backfill", {}, "kind"),
        ("backfill", {"kind": "reclassify"}, "kind"),
        ("backfill", {"kind": "preview"}, "kind"),
        ("backfill", {"kind": "category_deleted"}, "kind"),
        ("backfill", {"kind": None}, "kind"),
        ("backfill", [], None),
        ("reclassify", {}, "scope"),
        ("reclassify", {"scope": "some"}, "scope"),
        ("reclassify", {"scope": "category"}, "category"),
        ("reclassify", {"scope": "category", "category": None}, "category"),
        ("reclassify", {"scope": "category", "category": "nonsense"}, "category"),
        ("reclassify", {"scope": "category", "category": 5}, "category"),
        ("reclassify", {"scope": "all", "category": str(uuid.uuid4())}, "category"),
        ("preview", {}, "categories"),
        ("preview", {"categories": []}, "categories"),
        ("preview", {"categories": {}}, "categories"),
        ("preview", {"categories": ["x"]}, "categories.0"),
        ("preview", {"categories": [{}]}, "categories.0.title"),
        ("preview", {"categories": [DRAFT] * 51}, "categories"),
        ("preview", {"categories": [DRAFT, {"title": " CODING "}]}, "categories"),
        ("preview", {"categories": [{**DRAFT, "title": "x" * 101}]}, "categories.0.title"),
        ("preview", {"categories": [{**DRAFT, "examples": ["x"] * 21}]}, "categories.0.examples"),
        ("preview", {"categories": [DRAFT], "sample_size": 0}, "sample_size"),
        ("preview", {"categories": [DRAFT], "sample_size": 501}, "sample_size"),
        ("preview", {"categories": [DRAFT], "sample_size": "many"}, "sample_size"),
        ("preview", {"categories": [DRAFT], "sample_size": None}, "sample_size"),
    ],
)
def test_bad_input_is_refused_by_name(api: APIClient, project: Project, kind: str, body: Any, attr: str | None):
    answer = api.post(start_url(project, kind), body)
    assert answer.status_code == 400, answer.json()
    if attr:
        assert attr in [error["attr"].removesuffix(".non_field_errors") for error in answer.json()["errors"]]
    assert not Run.objects.exists()


@pytest.mark.parametrize("which", ["unknown", "foreign", "deleted"])
def test_a_category_that_is_not_there_is_not_found(api: APIClient, project: Project, discovery: Category, which: str):
    services.delete_category(project_id=project.pk, category_id=discovery.pk)
    ids = {"unknown": uuid.uuid4(), "foreign": ProjectFactory().categories.first().pk, "deleted": discovery.pk}
    body = {"scope": "category", "category": str(ids[which])}
    assert api.post(start_url(project, "reclassify"), body).status_code == 404
    assert not Run.objects.filter(kind="reclassify").exists()


CALLS = [
    ("get", "", "read"),
    ("post", "", "manage"),
    ("get", "one", "read"),
    ("post", "pause/", "manage"),
    ("post", "resume/", "manage"),
    ("post", "cancel/", "manage"),
]


def call_url(project: Project, run: Run | uuid.UUID, where: str) -> str:
    return runs_url(project, run if where else None, "" if where == "one" else where)


@pytest.mark.parametrize(("method", "where", "scope"), CALLS)
def test_each_call_asks_for_its_scope(
    client_of: Callable[..., APIClient], project: Project, method: str, where: str, scope: str
):
    run = services.start_reclassify(project_id=project.pk, actor=SHELL, scope="all")
    if where == "resume/":
        services.pause_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    others = {"chat", "read", "label", "ingest", "manage"} - {scope}
    url = call_url(project, run, where)
    assert getattr(client_of(project, sorted(others)), method)(url, BODIES["backfill"]).status_code == 403
    assert getattr(client_of(project, [scope]), method)(url, BODIES["backfill"]).status_code in {200, 202}


@pytest.mark.parametrize("kind", ["preview", "reclassify"])
def test_trying_and_classifying_anew_ask_for_manage(client_of: Callable[..., APIClient], project: Project, kind: str):
    url, body = start_url(project, kind), BODIES[kind]
    assert client_of(project, ["chat", "read", "label", "ingest"]).post(url, body).status_code == 403
    assert client_of(project, ["manage"]).post(url, body).status_code == 202


@pytest.mark.parametrize(("method", "where", "scope"), CALLS)
def test_another_projects_runs_do_not_exist(api: APIClient, project: Project, method: str, where: str, scope: str):
    other = ProjectFactory()
    foreign = services.start_reclassify(project_id=other.pk, actor=SHELL, scope="all")
    urls = [call_url(other, foreign, where)]
    if where:
        urls += [call_url(project, foreign, where), call_url(project, uuid.uuid4(), where)]
    answers = [getattr(api, method)(url, BODIES["backfill"]) for url in urls]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert len({answer.content for answer in answers}) == 1
    foreign.refresh_from_db()
    assert foreign.state == "running"


@pytest.mark.parametrize("kind", BODIES)
def test_nothing_is_started_in_another_project(api: APIClient, project: Project, kind: str):
    assert api.post(start_url(ProjectFactory(), kind), BODIES[kind]).status_code == 404
    assert not Run.objects.exists()


def test_paths_answer_with_and_without_their_slash(api: APIClient, project: Project):
    run = start(api, project, "backfill")
    for action in ("pause", "resume/", "cancel"):
        assert api.post(runs_url(project, run, action)).status_code == 200
    assert api.get(runs_url(project, run)[:-1]).status_code == 200
    assert api.get(runs_url(project)[:-1]).status_code == 200
    assert api.post(start_url(project, "preview")[:-1], BODIES["preview"]).status_code == 202


def test_an_id_that_is_none_is_not_found(api: APIClient, project: Project):
    assert api.get(f"{runs_url(project)}nonsense/").status_code == 404


def test_starting_a_run_counts_no_thread(api: APIClient, project: Project, django_assert_max_num_queries: Any):
    """However many there are: the planner counts."""
    ThreadFactory.create_batch(3, project=project, created_at=timezone.now() - timedelta(days=2))
    with django_assert_max_num_queries(12) as queries:
        start(api, project, "backfill")
    assert not [query["sql"] for query in queries.captured_queries if "query_thread" in query["sql"]]
    assert Thread.objects.count() == 3
