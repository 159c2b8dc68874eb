from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from categorisation import services
from categorisation.models import Batch, Category, ClassifierHealth, Run, Taxonomy
from categorisation.services.claims import NEVER
from categorisation.services.history import SHELL
from query.models import Thread
from teams.models import Project
from tests.factories.categorisation import CategoryFactory
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory, UserFactory

pytestmark = pytest.mark.django_db

INLINES = {
    f"{name}-{count}_FORMS": "0" for name in ("question_answers", "label_changes") for count in ("TOTAL", "INITIAL")
}


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


def test_a_page_saved_as_it_was_changes_nothing(admin_client: Client, project: Project):
    texts = {"title": "Legal", "description": "Terms,\nand who reads them.", "examples": ["One,\nor two?", "Three?"]}
    category = services.create_category(project_id=project.pk, **texts)
    as_a_browser_sends_it = {
        "title": "Legal",
        "description": "Terms,\r\nand who reads them.",
        "examples": "One,\r\nor two?\r\nThree?",
    }
    url = f"/admin/categorisation/category/{category.pk}/change/"
    assert admin_client.post(url, as_a_browser_sends_it).status_code == 302
    category.refresh_from_db()
    assert {name: getattr(category, name) for name in texts} == texts
    assert Taxonomy.objects.get(project=project).version == 2


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

    admin_client.post(url, {"category": str(foreign.pk), **INLINES})
    thread.refresh_from_db()
    assert thread.category is None

    assert admin_client.post(url, {"category": str(discovery.pk), **INLINES}).status_code == 302
    thread.refresh_from_db()
    assert (thread.category, thread.category_source) == (discovery, "user")


def test_saving_a_threads_page_without_a_change_decides_nothing(admin_client: Client, thread: Thread):
    admin_client.post(f"/admin/query/thread/{thread.pk}/change/", {"category": "", **INLINES})
    thread.refresh_from_db()
    assert thread.category_source is None


@pytest.mark.parametrize("has_successor", [False, True])
def test_saving_a_page_that_hides_a_deleted_category_decides_nothing(
    admin_client: Client,
    project: Project,
    thread: Thread,
    discovery: Category,
    troubleshooting: Category,
    has_successor: bool,
):
    services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    successor = troubleshooting.pk if has_successor else None
    services.delete_category(project_id=project.pk, category_id=discovery.pk, reassign_to=successor)
    url = f"/admin/query/thread/{thread.pk}/change/"
    form = admin_client.get(url).context["adminform"].form
    assert form["category"].value() == successor
    assert admin_client.post(url, {"category": str(successor or ""), **INLINES}).status_code == 302
    assert thread.label_changes.count() == 1
    listed = admin_client.get("/admin/query/thread/").content.decode()
    assert ("Troubleshooting (user)" in listed) is has_successor
    assert "Discovery" not in listed


def test_the_history_is_shown_with_who_when_from_what_and_to_what(
    admin_client: Client, project: Project, thread: Thread, discovery: Category, troubleshooting: Category
):
    url = f"/admin/query/thread/{thread.pk}/change/"
    for category in (discovery, troubleshooting):
        assert admin_client.post(url, {"category": str(category.pk), **INLINES}).status_code == 302
    services.delete_category(project_id=project.pk, category_id=discovery.pk)
    run_action(admin_client, "decide_on_none", thread)

    page = admin_client.get(url).content.decode()

    for text in ("unlabelled", "Discovery (user, deleted since)", "Troubleshooting (user)", "none of them (user)"):
        assert text in page
    assert page.count("admin@example.com") >= 3
    assert {change.actor for change in thread.label_changes.all()} == {"admin@example.com"}


def count_queries(admin_client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert admin_client.get(url).status_code == 200
    return len(queries)


def test_no_page_costs_a_query_a_row(
    admin_client: Client, project: Project, thread: Thread, discovery: Category, troubleshooting: Category
):
    def work() -> None:
        for each in ThreadFactory.create_batch(3, project=project):
            services.assign_label(project_id=project.pk, thread_id=each.pk, category_id=discovery.pk)
        for category in (discovery, troubleshooting, None):
            services.assign_label(
                project_id=project.pk, thread_id=thread.pk, category_id=category.pk if category else None
            )
        for other in ProjectFactory.create_batch(3):
            run = services.start_backfill(project_id=other.pk, actor=SHELL)
            Run.objects.filter(pk=run.pk).update(failed=2, total=5, measured_at=run.started_at)
            doomed = CategoryFactory(project=project)
            services.delete_category(project_id=project.pk, category_id=doomed.pk, reassign_to=discovery.pk)

    urls = [
        "/admin/query/thread/",
        f"/admin/query/thread/{thread.pk}/change/",
        "/admin/categorisation/run/",
        "/admin/categorisation/taxonomy/",
        "/admin/categorisation/category/",
    ]
    work()
    before = [count_queries(admin_client, url) for url in urls]
    work()
    assert [count_queries(admin_client, url) for url in urls] == before


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


def act_on_run(admin_client: Client, action: str, run: Run) -> str:
    form = {"action": action, "_selected_action": [str(run.pk)]}
    answer = admin_client.post("/admin/categorisation/run/", form, follow=True)
    assert answer.status_code == 200
    run.refresh_from_db()
    return answer.content.decode()


def test_runs_are_steered_by_actions_and_changed_by_nobody(admin_client: Client, project: Project):
    run = services.start_backfill(project_id=project.pk, actor=SHELL)
    for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        act_on_run(admin_client, action, run)
        assert run.state == state
    assert {event["by"] for event in run.events} == {"admin@example.com"}
    assert "cannot be paused" in act_on_run(admin_client, "pause", run)
    assert "a backfill was started" in act_on_run(admin_client, "start_backfill", run)
    assert "has an open run" in act_on_run(admin_client, "start_backfill", run)
    assert Run.objects.filter(project=project, state="running", started_by="admin@example.com").count() == 1
    url = f"/admin/categorisation/run/{run.pk}/change/"
    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {"state": "done"}).status_code == 403
    assert admin_client.get("/admin/categorisation/run/add/").status_code == 403


def test_who_may_only_look_may_not_steer(client: Client, project: Project):
    run = services.start_backfill(project_id=project.pk, actor=SHELL)
    looker = UserFactory(is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(looker)
    assert client.get("/admin/categorisation/run/").status_code == 200
    act_on_run(client, "cancel", run)
    assert run.state == "running"


def test_a_runs_progress_is_shown_and_its_given_up_threads_are_a_link_away(
    admin_client: Client, project: Project, thread: Thread
):
    run = services.start_backfill(project_id=project.pk, actor=SHELL)
    assert "not counted yet" in admin_client.get("/admin/categorisation/run/").content.decode()
    Run.objects.filter(pk=run.pk).update(
        total=2000, done=1499, failed=1, reused=7, rate_per_s=10.0, measured_at=run.started_at
    )
    Thread.objects.filter(pk=thread.pk).update(classify_attempts=5, classify_after=NEVER)
    ThreadFactory(project=project)
    page = admin_client.get("/admin/categorisation/run/").content.decode()
    assert "1,499 of 2,000 (75%)" in page
    assert "0:00:50" in page
    link = f"/admin/query/thread/?classification=given_up&amp;project__id__exact={project.pk}"
    assert link in page
    listed = admin_client.get(link.replace("&amp;", "&"))
    assert [row.pk for row in listed.context["cl"].result_list] == [thread.pk]


def test_taxonomies_start_a_backfill_and_bound_it(admin_client: Client, project: Project):
    url = f"/admin/categorisation/taxonomy/{project.pk}/change/"
    form = {"is_enabled": "on", "max_lanes": "5", "backfill_is_suspended": "on"}
    assert admin_client.post(url, form).status_code == 302
    taxonomy = Taxonomy.objects.get(project=project)
    assert (taxonomy.max_lanes, taxonomy.backfill_is_suspended) == (5, True)
    for lanes in ("0", "-1", "99999"):
        assert admin_client.post(url, {**form, "max_lanes": lanes}).status_code == 200
    action = {"action": "start_backfill", "_selected_action": [str(project.pk)]}
    for told in (b"was started", b"has an open run"):
        assert told in admin_client.post("/admin/categorisation/taxonomy/", action, follow=True).content
    taxonomy.refresh_from_db()
    assert not taxonomy.backfill_is_suspended


def test_runs_and_batches_lead_to_their_workers_in_flower(admin_client: Client, project: Project, settings: Settings):
    run = services.start_backfill(project_id=project.pk, actor=SHELL)
    batch = Batch.objects.create(worker="backfill@host-1")
    gone = Batch.objects.create(worker="backfill@host-2")
    Batch.objects.filter(pk=gone.pk).update(seen_at=timezone.now() - timedelta(minutes=1))
    pages = {
        "run": f"/admin/categorisation/run/{run.pk}/change/",
        "list": "/admin/categorisation/batch/",
        "batch": f"/admin/categorisation/batch/{batch.pk}/change/",
    }
    link = 'href="https://flower.example.com/tasks/worker/backfill@host-1"'
    settings.FLOWER_URL = None
    for url in pages.values():
        page = admin_client.get(url).content.decode()
        assert "backfill@host-1" in page
        assert "/worker/" not in page
    settings.FLOWER_URL = "https://flower.example.com/tasks/"
    for url in pages.values():
        assert link in admin_client.get(url).content.decode()
    assert "host-2" not in admin_client.get(pages["run"]).content.decode()
    services.cancel_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    assert "host-1" not in admin_client.get(pages["run"]).content.decode()


def test_what_works_on_runs_can_be_looked_at(admin_client: Client):
    batch = Batch.objects.create(worker="service-worker-backfill@host")
    health = ClassifierHealth.objects.create(classifier="dummy-1", last_error="ValueError")
    for name, row in (("batch", batch), ("classifierhealth", health)):
        url = f"/admin/categorisation/{name}/"
        assert str(getattr(row, "worker", row)).encode() in admin_client.get(url).content
        assert admin_client.get(f"{url}{row.pk}/change/").status_code == 200
        assert admin_client.get(f"{url}add/").status_code == 403
        assert admin_client.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 403
