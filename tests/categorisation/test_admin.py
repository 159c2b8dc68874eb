from __future__ import annotations

import pytest
from django.test import Client

from categorisation import services
from categorisation.models import Category, Run, Taxonomy
from categorisation.services.claims import NEVER
from query.models import Thread
from teams.models import Project
from tests.factories.categorisation import CategoryFactory
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def thread(project: Project) -> Thread:
    return QuestionAnswerFactory(thread__project=project).thread


def test_categories_are_made_and_changed_through_the_services(admin_client: Client, project: Project):
    form = {"project": str(project.pk), "title": " Legal ", "description": "Terms.", "examples": "One?\n\n Two? \n"}
    assert admin_client.post("/admin/categorisation/category/add/", form).status_code == 302
    category = project.categories.get(title="Legal")
    assert category.examples == ["One?", "Two?"]
    assert Taxonomy.objects.get(project=project).version == 2

    url = f"/admin/categorisation/category/{category.pk}/change/"
    assert b"One?\nTwo?" in admin_client.get(url).content
    assert admin_client.post(url, {**form, "title": "Law"}).status_code == 302
    category.refresh_from_db()
    assert category.title == "Law"
    assert Taxonomy.objects.get(project=project).version == 3


@pytest.mark.parametrize("title", ["discovery", "ÄMTER"])
def test_a_taken_title_is_told(admin_client: Client, project: Project, title: str):
    CategoryFactory(project=project, title="Ämter")
    form = {"project": str(project.pk), "title": title}
    answer = admin_client.post("/admin/categorisation/category/add/", form, follow=True)
    assert answer.status_code == 200
    assert project.categories.count() == 3


@pytest.mark.parametrize("examples", ["x\n" * 21, "x" * 501])
def test_examples_are_limited(admin_client: Client, project: Project, examples: str):
    form = {"project": str(project.pk), "title": "Legal", "examples": examples}
    assert b"At most" in admin_client.post("/admin/categorisation/category/add/", form).content
    assert project.categories.count() == 2


def test_deleting_a_category_unlabels_its_threads(
    admin_client: Client, project: Project, thread: Thread, discovery: Category, troubleshooting: Category
):
    services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    url = f"/admin/categorisation/category/{discovery.pk}/delete/"
    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    form = {"action": "delete_selected", "_selected_action": [str(troubleshooting.pk)], "post": "yes"}
    assert admin_client.post("/admin/categorisation/category/", form).status_code == 302
    assert services.empty_categories(budget_s=60)
    thread.refresh_from_db()
    assert thread.category_source is None
    assert project.categories.filter(deleted_at=None).count() == 0
    assert {run.started_by for run in Run.objects.filter(project=project)} == {"admin@example.com"}


def test_the_taxonomys_switch_can_be_turned_and_nothing_else(admin_client: Client, project: Project):
    assert admin_client.get("/admin/categorisation/taxonomy/").status_code == 200
    url = f"/admin/categorisation/taxonomy/{project.pk}/change/"
    assert admin_client.post(url, {"version": "99"}).status_code == 302
    taxonomy = Taxonomy.objects.get(project=project)
    assert (taxonomy.is_enabled, taxonomy.version) == (False, 1)


def test_a_label_given_in_the_admin_is_a_persons(admin_client: Client, thread: Thread, discovery: Category):
    url = f"/admin/query/thread/{thread.pk}/change/"
    foreign = ProjectFactory().categories.first()
    page = admin_client.get(url)
    assert page.status_code == 200
    assert str(discovery.pk).encode() in page.content
    assert str(foreign.pk).encode() not in page.content

    inline = {"question_answers-TOTAL_FORMS": "0", "question_answers-INITIAL_FORMS": "0"}
    admin_client.post(url, {"category": str(foreign.pk), **inline})
    thread.refresh_from_db()
    assert thread.category is None

    assert admin_client.post(url, {"category": str(discovery.pk), **inline}).status_code == 302
    thread.refresh_from_db()
    assert (thread.category, thread.category_source) == (discovery, "user")


def test_saving_a_threads_page_without_a_change_decides_nothing(admin_client: Client, thread: Thread):
    inline = {"question_answers-TOTAL_FORMS": "0", "question_answers-INITIAL_FORMS": "0"}
    admin_client.post(f"/admin/query/thread/{thread.pk}/change/", {"category": "", **inline})
    thread.refresh_from_db()
    assert thread.category_source is None


def run_action(admin_client: Client, action: str, thread: Thread) -> None:
    form = {"action": action, "_selected_action": [str(thread.pk)]}
    assert admin_client.post("/admin/query/thread/", form).status_code == 302
    thread.refresh_from_db()


def test_decisions_are_made_and_forgotten_by_actions(admin_client: Client, thread: Thread):
    run_action(admin_client, "decide_on_none", thread)
    assert (thread.category, thread.category_source) == (None, "user")
    run_action(admin_client, "forget_labels", thread)
    assert thread.category_source is None


def test_check_10_given_up_threads_are_visible_to_operators(admin_client: Client, project: Project, thread: Thread):
    waiting, retrying = ThreadFactory.create_batch(2, project=project)
    Thread.objects.filter(pk=retrying.pk).update(classify_attempts=1)
    Thread.objects.filter(pk=thread.pk).update(classify_attempts=5, classify_after=NEVER)
    for value, shown in {"waiting": waiting, "retrying": retrying, "given_up": thread}.items():
        page = admin_client.get("/admin/query/thread/", {"classification": value}).content.decode()
        assert [row for row in (waiting, retrying, thread) if str(row.pk) in page] == [shown]
    assert admin_client.get(f"/admin/query/thread/{thread.pk}/change/").status_code == 200

    run_action(admin_client, "try_again", thread)
    assert thread.classify_attempts == 0
