from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from categorisation import services
from categorisation.models import Category, Taxonomy
from query.models import Thread
from teams.models import Project
from tests.factories.categorisation import CategoryFactory
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db

CAREERS = {
    "title": "Careers",
    "description": "Asking for open positions.",
    "examples": ["Are you hiring?", "Any internships?"],
}


def categories_url(project: Project, category: Category | uuid.UUID | None = None) -> str:
    end = f"{category.pk if isinstance(category, Category) else category}/" if category else ""
    return f"/query/v1/projects/{project.pk}/categories/{end}"


def version_of(project: Project) -> int:
    return Taxonomy.objects.get(project=project).version


def test_a_new_project_has_the_predefined_categories(api: APIClient, project: Project):
    answer = api.get(categories_url(project))

    assert answer.status_code == 200
    rows = answer.json()["results"]
    assert [row["title"] for row in rows] == ["Discovery", "Troubleshooting"]
    assert set(rows[0]) == {"id", "title", "description", "examples", "is_predefined", "created_at", "updated_at"}
    assert all(row["is_predefined"] for row in rows)
    assert rows[0]["description"]
    assert rows[0]["examples"]


def test_saving_a_project_again_seeds_nothing(project: Project):
    project.save()
    assert project.categories.count() == 2


def test_categories_come_in_pages(api: APIClient, project: Project):
    first = api.get(categories_url(project), {"page_size": 1}).json()
    second = api.get(first["next"]).json()
    assert [row["title"] for row in first["results"] + second["results"]] == ["Discovery", "Troubleshooting"]
    assert second["next"] is None


def test_one_category_is_read(api: APIClient, project: Project, discovery: Category):
    answer = api.get(categories_url(project, discovery))
    assert answer.status_code == 200
    assert answer.json()["title"] == "Discovery"


def test_a_category_is_added(api: APIClient, project: Project):
    before = version_of(project)

    answer = api.post(categories_url(project), CAREERS)

    assert answer.status_code == 201
    body = answer.json()
    assert {name: body[name] for name in CAREERS} == CAREERS
    assert body["is_predefined"] is False
    assert body["reclassify_suggested"] is True
    assert api.get(categories_url(project, uuid.UUID(body["id"]))).json()["title"] == "Careers"
    assert version_of(project) == before + 1


def test_a_title_alone_is_enough_and_loses_its_surrounding_space(api: APIClient, project: Project):
    body = api.post(categories_url(project), {"title": "  Legal \n"}).json()
    assert (body["title"], body["description"], body["examples"]) == ("Legal", "", [])


@pytest.mark.parametrize("title", ["Discovery", "  dIsCoVeRy ", "DISCOVERY\t"])
@pytest.mark.parametrize("method", ["post", "patch", "put"])
def test_a_taken_title_is_a_conflict(api: APIClient, project: Project, title: str, method: str):
    before = version_of(project)
    url = categories_url(project) if method == "post" else categories_url(project, CategoryFactory(project=project))

    answer = getattr(api, method)(url, {"title": title})

    assert answer.status_code == 409
    assert [error["code"] for error in answer.json()["errors"]] == ["duplicate"]
    assert version_of(project) == before


def test_titles_are_compared_as_unicode_compares_them(api: APIClient, project: Project):
    api.post(categories_url(project), {"title": "Änderungen für Fußgänger"})
    assert api.post(categories_url(project), {"title": "äNDERUNGEN FÜR FUSSGÄNGER"}).status_code == 409


def test_titles_of_different_projects_do_not_meet(project: Project, api: APIClient):
    CategoryFactory(project=ProjectFactory(), title="Careers")
    assert api.post(categories_url(project), {"title": "Careers"}).status_code == 201


def test_a_category_may_change_the_case_of_its_own_title(api: APIClient, project: Project, discovery: Category):
    answer = api.patch(categories_url(project, discovery), {"title": "DISCOVERY"})
    assert answer.status_code == 200
    assert answer.json()["title"] == "DISCOVERY"


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "   "}, "title"),
        ({"title": None}, "title"),
        ({"title": 5}, "title"),
        ({"title": True}, "title"),
        ({"title": ["a"]}, "title"),
        ({"title": "x" * 101}, "title"),
        ({"title": "a", "description": None}, "description"),
        ({"title": "a", "description": 7}, "description"),
        ({"title": "a", "description": "x" * 2001}, "description"),
        ({"title": "a", "examples": "Are you hiring?"}, "examples"),
        ({"title": "a", "examples": None}, "examples"),
        ({"title": "a", "examples": ["x"] * 21}, "examples"),
        ({"title": "a", "examples": ["fine", " "]}, "examples.1"),
        ({"title": "a", "examples": [1]}, "examples.0"),
        ({"title": "a", "examples": ["x" * 501]}, "examples.0"),
        ([], None),
        ("Careers", None),
    ],
)
@pytest.mark.parametrize("method", ["post", "put"])
def test_bad_input_is_refused_by_name(
    api: APIClient, project: Project, discovery: Category, body: Any, attr: str | None, method: str
):
    url = categories_url(project) if method == "post" else categories_url(project, discovery)
    answer = getattr(api, method)(url, body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "validation_error"
    if attr:
        assert attr in [error["attr"] for error in answer.json()["errors"]]


def test_the_limits_themselves_are_allowed(api: APIClient, project: Project):
    body = {"title": "x" * 100, "description": "x" * 2000, "examples": ["x" * 500] * 20}
    assert api.post(categories_url(project), body).status_code == 201


def test_a_fifty_first_category_is_a_conflict(api: APIClient, project: Project, discovery: Category):
    CategoryFactory.create_batch(48, project=project)

    assert api.post(categories_url(project), {"title": "one too many"}).status_code == 409
    assert api.delete(categories_url(project, discovery)).status_code == 204
    assert api.post(categories_url(project), {"title": "one too many"}).status_code == 201


def test_patch_changes_what_it_names(api: APIClient, project: Project, discovery: Category):
    before = version_of(project)

    answer = api.patch(categories_url(project, discovery), {"description": "New."})

    body = answer.json()
    assert answer.status_code == 200
    assert (body["title"], body["description"]) == ("Discovery", "New.")
    assert body["examples"] == discovery.examples
    assert body["reclassify_suggested"] is True
    assert body["updated_at"] > api.get(categories_url(project)).json()["results"][1]["updated_at"]
    assert version_of(project) == before + 1


def test_put_replaces_the_whole(api: APIClient, project: Project, discovery: Category):
    body = api.put(categories_url(project, discovery), {"title": "Discovery"}).json()
    assert (body["title"], body["description"], body["examples"]) == ("Discovery", "", [])
    assert body["is_predefined"] is True
    assert body["reclassify_suggested"] is True


@pytest.mark.parametrize("body", [{}, {"title": "Discovery"}, {"title": " Discovery "}])
def test_a_patch_that_changes_nothing_moves_nothing(
    api: APIClient, project: Project, discovery: Category, body: dict[str, str]
):
    before = version_of(project)
    answer = api.patch(categories_url(project, discovery), body)
    assert answer.status_code == 200
    assert answer.json()["reclassify_suggested"] is False
    assert version_of(project) == before
    assert answer.json()["updated_at"] == api.get(categories_url(project, discovery)).json()["updated_at"]


def test_the_cues_of_a_predefined_category_go_with_its_description_alone(
    api: APIClient, project: Project, discovery: Category
):
    assert discovery.cues
    api.patch(categories_url(project, discovery), {"title": "Getting to know", "examples": ["What is it?"]})
    discovery.refresh_from_db()
    assert discovery.cues
    api.patch(categories_url(project, discovery), {"description": "Questions on code."})
    discovery.refresh_from_db()
    assert discovery.cues == []


def test_a_correction_keeps_the_labels(api: APIClient, project: Project, discovery: Category):
    thread = ThreadFactory(project=project)
    services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    api.patch(categories_url(project, discovery), {"title": "Coding"})
    row = api.get(f"/query/v1/projects/{project.pk}/threads/{thread.pk}/").json()
    assert row["category"] == {"id": str(discovery.pk), "title": "Coding"}


def test_a_deleted_category_is_gone_and_its_title_free(api: APIClient, project: Project, discovery: Category):
    before = version_of(project)

    assert api.delete(categories_url(project, discovery)).status_code == 204

    for method in (api.get, api.delete):
        assert method(categories_url(project, discovery)).status_code == 404
    for method in (api.patch, api.put):
        assert method(categories_url(project, discovery), {"title": "x"}).status_code == 404
    assert [row["title"] for row in api.get(categories_url(project)).json()["results"]] == ["Troubleshooting"]
    assert version_of(project) == before + 1
    assert api.post(categories_url(project), {"title": "Discovery"}).status_code == 201


def test_the_last_category_may_go(api: APIClient, project: Project, discovery: Category, troubleshooting: Category):
    assert api.delete(categories_url(project, discovery)).status_code == 204
    assert api.delete(categories_url(project, troubleshooting)).status_code == 204
    assert api.get(categories_url(project)).json()["results"] == []


@pytest.mark.parametrize("title", ["\u200b", "a\nb", "a\tb", "\u202efdp", "a\u2028b"])
def test_a_title_that_nobody_can_read_is_refused(api: APIClient, project: Project, title: str):
    answer = api.post(categories_url(project), {"title": title})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "title"


def test_a_title_may_join_letters_and_emoji(api: APIClient, project: Project):
    for title in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0645", "\U0001f469\u200d\U0001f4bb Coding"):
        assert api.post(categories_url(project), {"title": title}).status_code == 201


def test_a_deletion_with_an_unknown_parameter_is_refused(api: APIClient, project: Project, discovery: Category):
    answer = api.delete(f"{categories_url(project, discovery)}?reasign_to={uuid.uuid4()}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "reasign_to"
    assert project.categories.filter(pk=discovery.pk, deleted_at=None).exists()


def test_deleting_unlabels_the_threads_people_put_there_too(api: APIClient, project: Project, discovery: Category):
    by_user, by_classifier = ThreadFactory.create_batch(2, project=project)
    services.assign_label(project_id=project.pk, thread_id=by_user.pk, category_id=discovery.pk)
    label_as_classifier(by_classifier, discovery)
    before = timezone.now().isoformat()

    api.delete(categories_url(project, discovery))

    rows = [
        api.get(f"/query/v1/projects/{project.pk}/threads/{thread.pk}/").json() for thread in (by_user, by_classifier)
    ]
    assert services.empty_categories(budget_s=60)
    rows += api.get(f"/query/v1/projects/{project.pk}/threads/", {"updated_since": before}).json()["results"]
    assert len(rows) == 4
    for row in rows:
        assert (row["category"], row["category_source"], row["category_confidence"]) == (None, None, None)
    discovery.refresh_from_db()
    assert discovery.deleted_at is not None


def test_reassigning_moves_all_threads_and_a_persons_decision_stays_one(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category
):
    by_user, by_classifier = ThreadFactory.create_batch(2, project=project)
    services.assign_label(project_id=project.pk, thread_id=by_user.pk, category_id=discovery.pk)
    label_as_classifier(by_classifier, discovery)

    answer = api.delete(f"{categories_url(project, discovery)}?reassign_to={troubleshooting.pk}")

    assert answer.status_code == 204
    assert services.empty_categories(budget_s=60)
    by_user.refresh_from_db()
    by_classifier.refresh_from_db()
    assert (by_user.category, by_user.category_source) == (troubleshooting, "user")
    assert (by_classifier.category, by_classifier.category_source) == (troubleshooting, "classifier")
    assert by_classifier.category_confidence is None


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("itself", 404),
        ("unknown", 404),
        ("foreign", 404),
        ("deleted", 404),
        ("nonsense", 400),
        ("", 400),
    ],
)
def test_a_bad_target_of_reassigning_changes_nothing(
    api: APIClient, project: Project, discovery: Category, target: str, status: int
):
    deleted = CategoryFactory(project=project)
    services.delete_category(project_id=project.pk, category_id=deleted.pk)
    ids = {
        "itself": discovery.pk,
        "unknown": uuid.uuid4(),
        "foreign": ProjectFactory().categories.first().pk,
        "deleted": deleted.pk,
    }
    before = version_of(project)

    answer = api.delete(f"{categories_url(project, discovery)}?reassign_to={ids.get(target, target)}")

    assert answer.status_code == status
    if status == 400:
        assert answer.json()["errors"][0]["attr"] == "reassign_to"
    assert version_of(project) == before
    assert api.get(categories_url(project, discovery)).status_code == 200


def label_as_classifier(thread: Thread, category: Category) -> None:
    Thread.objects.filter(pk=thread.pk).update(
        category=category, category_source="classifier", category_confidence=0.5, categorised_at=thread.created_at
    )


READS = [("get", ""), ("get", "one")]
WRITES = [("post", ""), ("put", "one"), ("patch", "one"), ("delete", "one")]


@pytest.mark.parametrize(("method", "where"), READS + WRITES)
def test_each_call_asks_for_its_scope(
    client_of: Callable[..., APIClient], project: Project, discovery: Category, method: str, where: str
):
    url = categories_url(project, discovery if where else None)
    needed = "read" if (method, where) in READS else "manage"
    others = {"chat", "read", "label", "ingest", "manage"} - {needed}
    body = {"title": "Careers"}
    assert getattr(client_of(project, sorted(others)), method)(url, body).status_code == 403
    assert getattr(client_of(project, [needed]), method)(url, body).status_code in {200, 201, 204}


@pytest.mark.parametrize(("method", "where"), READS + WRITES)
def test_another_projects_categories_do_not_exist(api: APIClient, project: Project, method: str, where: str):
    other = ProjectFactory()
    foreign = other.categories.first()
    answers = [getattr(api, method)(categories_url(other, foreign if where else None), {"title": "x"})]
    if where:
        answers.append(getattr(api, method)(categories_url(project, foreign), {"title": "x"}))
        answers.append(getattr(api, method)(categories_url(project, uuid.uuid4()), {"title": "x"}))
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert len({answer.content for answer in answers}) == 1


def test_paths_answer_without_their_slash(api: APIClient, project: Project, discovery: Category):
    assert api.get(categories_url(project)[:-1]).status_code == 200
    assert api.patch(categories_url(project, discovery)[:-1], {"title": "x"}).status_code == 200


def test_an_id_that_is_none_is_not_found(api: APIClient, project: Project):
    assert api.get(f"{categories_url(project)}nonsense/").status_code == 404
