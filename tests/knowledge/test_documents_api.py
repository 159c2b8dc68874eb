"""The contract's document calls."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection

from knowledge import services, tasks
from knowledge.models import Document
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db

ROW = {
    "id",
    "external_id",
    "title",
    "source_url",
    "content_type",
    "state",
    "error",
    "chunk_count",
    "content_sha256",
    "metadata",
    "created_at",
    "updated_at",
    "indexed_at",
}
BODY = {"title": "Retries", "content": "# Retries\n\nAgain and again.", "content_type": "text/markdown"}


@pytest.fixture
def url(project) -> str:
    return f"/knowledge/v1/projects/{project.pk}/documents/"


def upload(api, url, data: bytes, name: str = "guide.md", **fields):
    return api.post(url, {"file": SimpleUploadedFile(name, data), **fields}, format="multipart")


def attrs(response) -> list[str | None]:
    return [error["attr"] for error in response.json()["errors"]]


def test_a_document_is_made_and_waits_for_its_indexing(api, url):
    response = api.post(url, BODY)
    assert response.status_code == 201
    row = response.json()
    assert row.keys() == ROW
    assert (row["state"], row["error"], row["chunk_count"], row["indexed_at"]) == ("pending", "", 0, None)
    assert (row["external_id"], row["source_url"], row["metadata"]) == (None, "", {})
    assert api.get(f"{url}{row['id']}/").json() == row
    assert api.get(url).json()["results"] == [row]


def test_a_worker_is_told_on_commit(api, url, monkeypatch, django_capture_on_commit_callbacks):
    nudged = []
    monkeypatch.setattr(tasks.index_document, "nudge", nudged.append)
    with django_capture_on_commit_callbacks(execute=True):
        row = api.post(url, BODY).json()
    assert nudged == [row["id"]]


def test_the_same_external_id_replaces(api, url):
    first = api.post(url, {**BODY, "external_id": "a", "source_url": "/a", "metadata": {"n": 1}})
    second = api.post(url, {**BODY, "external_id": "a", "content": "other"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    assert (second.json()["source_url"], second.json()["metadata"]) == ("", {})
    assert second.json()["content_sha256"] != first.json()["content_sha256"]
    assert Document.objects.get().revision == 2


def test_an_unchanged_document_is_not_written(api, url):
    body = {**BODY, "external_id": "a", "metadata": {"n": 1, "ok": True}}
    first = api.post(url, body).json()
    Document.objects.update(state="indexed")
    second = api.post(url, body)
    assert second.status_code == 200
    assert second.json() == {**first, "state": "indexed"}


def test_true_is_not_one(api, url):
    api.post(url, {**BODY, "external_id": "a", "metadata": {"n": 1}})
    assert api.post(url, {**BODY, "external_id": "a", "metadata": {"n": True}}).json()["metadata"] == {"n": True}
    assert Document.objects.get().metadata["n"] is True


def test_without_an_external_id_each_post_is_a_document_of_its_own(api, url):
    assert api.post(url, BODY).json()["id"] != api.post(url, BODY).json()["id"]


def test_another_project_may_use_the_same_external_id(api, url, client_of):
    other = ProjectFactory()
    api.post(url, {**BODY, "external_id": "a"})
    response = client_of(other).post(f"/knowledge/v1/projects/{other.pk}/documents/", {**BODY, "external_id": "a"})
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("name", "data", "content_type", "title"),
    [
        ("guide.md", b"# The guide\n\nText.", "text/markdown", "The guide"),
        ("guide.html", b"<h1>The <em>guide</em></h1><p>Text.", "text/html", "The guide"),
        ("Guide.TXT", b"Text.", "text/plain", "Guide"),
        ("guide.rst", b"The guide\n=========\n\nText.", "text/x-rst", "The guide"),
        ("latin.html", "<meta charset=latin-1><h1>Übersicht</h1>".encode("latin-1"), "text/html", "Übersicht"),
    ],
)
def test_a_file_is_a_document(api, url, name, data, content_type, title):
    response = upload(api, url, data, name, external_id="f", metadata=json.dumps({"a": "b"}), source_url="/f")
    assert response.status_code == 201, response.json()
    row = response.json()
    assert (row["content_type"], row["title"], row["external_id"]) == (content_type, title, "f")
    assert (row["metadata"], row["source_url"]) == ({"a": "b"}, "/f")


def test_a_title_that_is_given_is_kept(api, url):
    assert upload(api, url, b"# The guide", title="Mine").json()["title"] == "Mine"


@pytest.mark.parametrize(
    "data",
    [b"PNG\x00\x1a binary", "ungültig".encode("latin-1"), b"\xff\xfe\x00", b"   \n"],
    ids=["binary", "wrong encoding", "half a character", "blank"],
)
def test_a_file_that_is_not_what_it_claims_is_refused_by_name(api, url, data):
    response = upload(api, url, data)
    assert (response.status_code, attrs(response)) == (400, ["file"])
    assert not Document.objects.exists()


@pytest.mark.parametrize("name", ["guide.docx", "guide.exe", "guide", ".md"])
def test_a_kind_of_file_that_cannot_be_read_is_a_415(api, url, name):
    response = upload(api, url, b"# Text", name)
    assert response.status_code == 415
    assert ".md" in response.json()["errors"][0]["detail"]


def test_a_form_without_a_file_or_with_an_empty_one_is_refused(api, url):
    assert attrs(api.post(url, {"title": "no file"}, format="multipart")) == ["file"]
    assert attrs(upload(api, url, b"")) == ["file"]


def test_a_form_with_a_thousand_parts_is_a_400(api, url):
    fields = {f"f{number}": "x" for number in range(1_100)}
    assert upload(api, url, b"# Text", **fields).status_code == 400


def test_a_broken_form_is_a_400(api, url):
    response = api.generic("POST", url, b"--x\r\nnonsense", content_type="multipart/form-data; boundary=x")
    assert response.status_code == 400
    assert api.generic("POST", url, b"abc", content_type="multipart/form-data").status_code == 400


def test_a_document_too_large_is_a_413_however_it_comes(api, url, settings):
    settings.MAX_DOCUMENT_SIZE_BYTES = 100
    for response in (
        api.post(url, {**BODY, "content": "x" * 101}),
        api.post(url, {**BODY, "content": "ü" * 51}),
        upload(api, url, b"x" * 101),
    ):
        assert response.status_code == 413
    assert api.post(url, {**BODY, "content": "x" * 100}).status_code == 201


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"title": ""}, "title"),
        ({"title": "x" * 501}, "title"),
        ({"title": None}, "title"),
        ({"content": "  \n"}, "content"),
        ({"content": ["a"]}, "content"),
        ({"content_type": "application/pdf"}, "content_type"),
        ({"external_id": ""}, "external_id"),
        ({"external_id": "x" * 501}, "external_id"),
        ({"source_url": "javascript:alert(1)"}, "source_url"),
        ({"source_url": "java\tscript:alert(1)"}, "source_url"),
        ({"source_url": "\u0001javascript:alert(1)"}, "source_url"),
        ({"source_url": "\u200bjavascript:alert(1)"}, "source_url"),
        ({"source_url": "x" * 2001}, "source_url"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "{}"}, "metadata"),
        ({"metadata": None}, "metadata"),
        ({"metadata": {"": 1}}, "metadata"),
        ({"metadata": {"n": 2**63}}, "metadata"),
        ({"metadata": {"n": 1e30}}, "metadata"),
        ({"metadata": {"n": "x" * 20_000}}, "metadata"),
        ({"metadata": json.loads('{"a":' * 10 + "1" + "}" * 10)}, "metadata"),
    ],
)
def test_a_field_that_is_not_understood_is_named(api, url, changes, attr):
    response = api.post(url, {**BODY, **changes})
    assert (response.status_code, attrs(response)) == (400, [attr])
    document = api.post(url, BODY).json()
    response = api.patch(f"{url}{document['id']}/", changes)
    assert (response.status_code, attrs(response)) == (400, [attr])


@pytest.mark.parametrize("metadata", ["{", "[]", '"x"', json.dumps({"a": "\0"}), "NaN"])
def test_metadata_of_a_form_that_is_no_object_is_named(api, url, metadata):
    response = upload(api, url, b"# Text", metadata=metadata)
    assert (response.status_code, attrs(response)) == (400, ["metadata"])


def test_what_is_no_json_or_no_object_is_a_400(api, url):
    assert api.generic("POST", url, b"{", content_type="application/json").status_code == 400
    assert api.generic("POST", url, b'{"content": "\\u0000"}', content_type="application/json").status_code == 400
    assert api.post(url, [BODY]).status_code == 400
    assert api.generic("POST", url, b"x", content_type="text/markdown").status_code == 415


class TestPatch:
    def test_it_changes_what_it_names(self, api, url):
        row = api.post(url, {**BODY, "external_id": "a", "metadata": {"a": 1}}).json()
        changed = api.patch(f"{url}{row['id']}/", {"title": "Other", "external_id": "a"})
        assert changed.status_code == 200
        assert {**changed.json(), "updated_at": ""} == {**row, "title": "Other", "updated_at": ""}
        assert Document.objects.get().revision == 2

    def test_metadata_and_source_are_no_new_revision(self, api, url):
        row = api.post(url, BODY).json()
        assert api.patch(f"{url}{row['id']}/", {"metadata": {"a": 1}, "source_url": "/x"}).status_code == 200
        assert Document.objects.get().revision == 1

    def test_the_external_id_cannot_be_changed(self, api, url):
        row = api.post(url, {**BODY, "external_id": "a"}).json()
        response = api.patch(f"{url}{row['id']}/", {"external_id": "b"})
        assert (response.status_code, attrs(response)) == (400, ["external_id"])

    def test_content_too_large_is_a_413(self, api, url, settings):
        row = api.post(url, BODY).json()
        settings.MAX_DOCUMENT_SIZE_BYTES = 10
        assert api.patch(f"{url}{row['id']}/", {"content": "x" * 11}).status_code == 413

    def test_a_file_is_a_415(self, api, url):
        row = api.post(url, BODY).json()
        assert api.patch(f"{url}{row['id']}/", {"title": "x"}, format="multipart").status_code == 415


class TestDelete:
    def test_it_is_gone_at_once_and_for_good(self, api, url, monkeypatch, django_capture_on_commit_callbacks):
        nudged = []
        monkeypatch.setattr(tasks.erase_document, "nudge", nudged.append)
        row = api.post(url, {**BODY, "external_id": "a"}).json()
        with django_capture_on_commit_callbacks(execute=True):
            assert api.delete(f"{url}{row['id']}/").status_code == 204
        assert nudged == [row["id"]]
        assert api.delete(f"{url}{row['id']}/").status_code == 404
        assert api.get(f"{url}{row['id']}/").status_code == 404
        assert api.patch(f"{url}{row['id']}/", {"title": "x"}).status_code == 404
        assert api.get(url).json()["results"] == []

    def test_its_external_id_is_free(self, api, url):
        row = api.post(url, {**BODY, "external_id": "a"}).json()
        api.delete(f"{url}{row['id']}/")
        again = api.post(url, {**BODY, "external_id": "a"})
        assert again.status_code == 201
        assert again.json()["id"] != row["id"]


class TestTenancy:
    def test_a_foreign_document_answers_like_one_that_does_not_exist(self, api, url):
        foreign = DocumentFactory()
        bodies = set()
        for document_id in (foreign.pk, uuid4()):
            for response in (
                api.get(f"{url}{document_id}/"),
                api.patch(f"{url}{document_id}/", {"title": "x"}),
                api.delete(f"{url}{document_id}/"),
                api.get(f"/knowledge/v1/projects/{foreign.project_id}/documents/{document_id}/"),
                api.get(f"/knowledge/v1/projects/{uuid4()}/documents/"),
            ):
                assert response.status_code == 404
                bodies.add(response.content)
        assert len(bodies) == 1
        assert not Document.objects.exclude(deleted_at=None).exists()

    @pytest.mark.parametrize("scope", ["chat", "label", "manage"])
    def test_other_scopes_do_not_reach_documents(self, project, url, client_of, scope):
        client = client_of(project, [scope])
        row = f"{url}{DocumentFactory(project=project).pk}/"
        statuses = [client.get(url), client.post(url, BODY), client.get(row), client.patch(row, {}), client.delete(row)]
        assert {response.status_code for response in statuses} == {403}

    def test_reading_is_not_writing(self, project, url, client_of):
        row = f"{url}{DocumentFactory(project=project).pk}/"
        reader, writer = client_of(project, ["read"]), client_of(project, ["ingest"])
        assert reader.get(url).status_code == reader.get(row).status_code == 200
        assert reader.post(url, BODY).status_code == reader.delete(row).status_code == 403
        assert writer.get(url).status_code == 403
        assert writer.post(url, BODY).status_code == 201


class TestList:
    def test_pages_are_newest_first_and_neither_repeat_nor_skip(self, api, url, project):
        expected = [str(DocumentFactory(project=project).pk) for _ in range(5)][::-1]
        seen, cursor = [], ""
        while cursor is not None:
            page = api.get(url, {"page_size": 2, **({"cursor": cursor} if cursor else {})}).json()
            seen += [row["id"] for row in page["results"]]
            cursor = page["next_cursor"]
        assert seen == expected

    def test_it_is_narrowed_by_state_and_external_id(self, api, url, project):
        DocumentFactory(project=project, external_id="a", state="failed")
        DocumentFactory(project=project, external_id="b")
        assert [row["external_id"] for row in api.get(url, {"state": "failed"}).json()["results"]] == ["a"]
        assert [row["external_id"] for row in api.get(url, {"external_id": "b"}).json()["results"]] == ["b"]
        assert attrs(api.get(url, {"state": "nonsense"})) == ["state"]

    def test_a_page_costs_three_queries_and_loads_no_content(self, api, url, project, django_assert_num_queries):
        for _ in range(3):
            DocumentFactory(project=project)
        api.get(url)
        with django_assert_num_queries(3) as captured:  # the key, its calls, the documents
            api.get(url)
        assert '"knowledge_document"."content",' not in captured[2]["sql"]


def test_every_path_answers_without_its_slash(api, url):
    row = api.post(url.rstrip("/"), BODY)
    assert row.status_code == 201
    assert api.get(f"{url}{row.json()['id']}").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_posts_of_one_external_id_at_once_make_one_document(project):
    together = Barrier(6)

    def put(number: int) -> services.Written:
        draft = services.Draft(title="a", content=f"text {number}", content_type="text/plain", external_id="a")
        together.wait()
        try:
            return services.put_document(project=project, draft=draft, announce=False)[1]
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as lanes:
        outcomes = Counter(lanes.map(put, range(6)))
    assert outcomes == {services.Written.CREATED: 1, services.Written.REPLACED: 5}
    assert Document.objects.get().revision == 6
