"""Documents in the admin."""

from __future__ import annotations

import pytest
from django.test import Client

from knowledge.models import Document, Library
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import UserFactory

pytestmark = pytest.mark.django_db
LIST = "/admin/knowledge/document/"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


def test_the_list_is_searched_and_filtered_and_costs_no_query_per_row(admin, django_assert_max_num_queries):
    for _ in range(5):
        DocumentFactory()
    DocumentFactory(title="The odd one", state="failed", error="Why")
    with django_assert_max_num_queries(10) as captured:
        assert admin.get(LIST).status_code == 200
    assert not any('"knowledge_document"."content",' in query["sql"] for query in captured)
    assert b"The odd one" in admin.get(LIST, {"state__exact": "failed"}).content
    assert b"1 document" in admin.get(LIST, {"q": "odd"}).content


def test_a_document_is_shown_with_its_content_and_cannot_be_edited(admin):
    document = DocumentFactory(content="The whole text")
    page = admin.get(f"{LIST}{document.pk}/change/")
    assert b"The whole text" in page.content
    assert b'name="title"' not in page.content
    assert admin.get(f"{LIST}add/").status_code == 403


def test_index_again(admin):
    document = DocumentFactory(state="indexed", live_revision=1)
    data = {"action": "index_again", "_selected_action": [str(document.pk)]}
    assert b"1 will be indexed again" in admin.post(LIST, data, follow=True).content
    document.refresh_from_db()
    assert (document.state, document.revision, document.live_revision) == ("pending", 2, 1)


def test_deleting_hides_at_once_and_leaves_the_erasing_to_the_worker(admin):
    one, two, three = (DocumentFactory() for _ in range(3))
    admin.post(f"{LIST}{one.pk}/delete/", {"post": "yes"})
    data = {"action": "delete_selected", "_selected_action": [str(two.pk)], "post": "yes"}
    admin.post(LIST, data)
    assert list(Document.objects.filter(deleted_at=None)) == [three]
    assert Document.objects.count() == 3
    assert admin.get(f"{LIST}{one.pk}/change/").status_code == 302


def test_libraries_are_listed(admin):
    document = DocumentFactory()
    Library.objects.create(project=document.project, vectordb_id="lib", embedder_fingerprint="tiny@1", dimension=32)
    assert b"tiny@1" in admin.get("/admin/knowledge/library/").content
