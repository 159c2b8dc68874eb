"""Files, well-behaved and hostile, as documents."""

from __future__ import annotations

import hashlib

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from knowledge import services
from knowledge.extraction import ExtractionInterrupted
from knowledge.indexing import TO_BE_RETRIED, Outcome
from knowledge.models import Document, FilePart
from tests.knowledge import pdfs
from tests.knowledge.conftest import make_due, make_indexer, search

pytestmark = pytest.mark.django_db

PDF = pdfs.pdf_of("The first word.", "The last word.")
OTHER = pdfs.pdf_of("Another word.")


@pytest.fixture
def url(project) -> str:
    return f"/knowledge/v1/projects/{project.pk}/documents/"


def upload(api, url, data: bytes = PDF, name: str = "guide.pdf", kind: str = "application/octet-stream", **fields):
    return api.post(url, {"file": SimpleUploadedFile(name, data, kind), **fields}, format="multipart")


def send_form(api, url, body: bytes, length: int | None = None):
    return api.generic(
        "POST", url, body, content_type="multipart/form-data; boundary=x", CONTENT_LENGTH=str(length or len(body))
    )


def attrs(response) -> list[str | None]:
    return [error["attr"] for error in response.json()["errors"]]


class TestPdf:
    def test_the_request_keeps_the_file_and_a_worker_reads_it(self, api, url, indexer):
        response = upload(api, url, external_id="a", metadata='{"language": "en"}', source_url="/guide.pdf")
        assert response.status_code == 201
        row = response.json()
        assert (row["content_type"], row["title"], row["state"]) == ("application/pdf", "guide", "pending")
        assert row["content_sha256"] == hashlib.sha256(PDF).hexdigest()
        document = Document.objects.get()
        assert document.content == ""

        assert indexer.index(document.pk) is Outcome.INDEXED

        document.refresh_from_db()
        assert (document.state, document.content) == ("indexed", "The first word.\fThe last word.")
        assert document.content_sha256 == row["content_sha256"]
        assert not FilePart.objects.exists()
        contents = {passage.content for passage in search(document)}
        assert contents == {"## Page 1\n\nThe first word.", "## Page 2\n\nThe last word."}
        assert len(search(document, filters={"language": "en"})) == 2

    def test_a_large_one_is_kept_in_parts_and_read_whole(self, api, url, store, tiny):
        data = pdfs.pdf_of(*["x" * 900] * 600, compressed=False)
        upload(api, url, data)
        document = Document.objects.get()
        parts = list(FilePart.objects.order_by("position"))
        assert len(parts) > 2
        assert b"".join(part.data for part in parts) == data
        assert make_indexer(store, tiny, budget_s=0).index(document.pk) is Outcome.UNFINISHED
        assert Document.objects.get().content.count("\f") == 599

    def test_the_same_file_again_is_unchanged(self, api, url, indexer):
        first = upload(api, url, external_id="a").json()
        for _ in range(2):
            again = upload(api, url, external_id="a")
            assert (again.status_code, again.json()["id"]) == (200, first["id"])
            indexer.index(Document.objects.get().pk)
            assert Document.objects.get().state == "indexed"
        assert Document.objects.get().revision == 1

    def test_another_file_replaces_and_the_first_answers_until_it_is_read(self, api, url, indexer):
        upload(api, url, external_id="a")
        document = Document.objects.get()
        indexer.index(document.pk)
        assert upload(api, url, OTHER, external_id="a").status_code == 200
        assert len(search(document)) == 2
        indexer.index(document.pk)
        assert [passage.content for passage in search(document)] == ["## Page 1\n\nAnother word."]

    def test_one_that_nobody_read_yet_is_replaced_with_its_file(self, api, url, indexer):
        upload(api, url, external_id="a")
        upload(api, url, OTHER, external_id="a")
        indexer.index(Document.objects.get().pk)
        assert Document.objects.get().content == "Another word."

    def test_a_text_in_its_place_leaves_nothing_of_the_file(self, api, url, indexer):
        upload(api, url, external_id="a")
        body = {"title": "T", "content": "The word.", "content_type": "text/plain", "external_id": "a"}
        assert api.post(url, body).status_code == 200
        assert not FilePart.objects.exists()
        document = Document.objects.get()
        indexer.index(document.pk)
        assert [passage.content for passage in search(document)] == ["The word."]
        assert upload(api, url, external_id="a").json()["content_type"] == "application/pdf"
        assert Document.objects.get().content == ""

    @pytest.mark.parametrize("data", [pdfs.scanned(), PDF[:300], pdfs.encrypted("x"), pdfs.bomb(1 << 28)])
    def test_one_that_cannot_be_read_fails_in_words_for_its_owner(self, api, url, indexer, data):
        row = upload(api, url, data).json()
        assert indexer.index(Document.objects.get().pk) is Outcome.FAILED
        told = api.get(f"{url}{row['id']}/").json()
        assert told["state"] == "failed"
        assert "PDF" in told["error"]

    def test_a_failed_one_that_is_sent_again_is_tried_again(self, api, url, indexer):
        upload(api, url, pdfs.scanned(), external_id="a")
        indexer.index(Document.objects.get().pk)
        assert upload(api, url, pdfs.scanned(), external_id="a").json()["state"] == "pending"
        assert FilePart.objects.count() == 1
        assert indexer.index(Document.objects.get().pk) is Outcome.FAILED

    def test_a_failed_one_keeps_its_file_for_another_try(self, api, url, indexer):
        upload(api, url, pdfs.scanned())
        document = Document.objects.get()
        indexer.index(document.pk)
        services.index_again(Document.objects.all())
        assert indexer.index(document.pk) is Outcome.FAILED
        assert "pictures" in Document.objects.get().error

    def test_a_reading_that_was_interrupted_is_tried_again(self, api, url, store, tiny):
        class Interrupted:
            def extract(self, pieces):
                raise ExtractionInterrupted

        upload(api, url)
        document = Document.objects.get()
        assert (
            make_indexer(store, tiny, extractor_for=lambda kind: Interrupted()).index(document.pk) is Outcome.POSTPONED
        )
        assert Document.objects.get().error == TO_BE_RETRIED
        make_due(document)
        assert make_indexer(store, tiny).index(document.pk) is Outcome.INDEXED

    def test_one_that_is_deleted_while_it_is_read_comes_to_nothing(self, api, url, store, tiny, project):
        class Deleting:
            def extract(self, pieces):
                services.delete_document(project=project, document_id=document.pk)
                return "The word."

        upload(api, url)
        document = Document.objects.get()
        indexer = make_indexer(store, tiny, extractor_for=lambda kind: Deleting())
        indexer.index(document.pk)
        indexer.erase(document.pk)
        assert not Document.objects.exists()
        assert not FilePart.objects.exists()

    def test_a_new_title_reads_no_file_again(self, api, url, indexer):
        row = upload(api, url).json()
        document = Document.objects.get()
        indexer.index(document.pk)
        assert api.patch(f"{url}{row['id']}/", {"title": "Other"}).status_code == 200
        assert indexer.index(document.pk) is Outcome.INDEXED
        assert {passage.title for passage in search(document)} == {"Other"}

    @pytest.mark.parametrize(
        ("changes", "attr"),
        [({"content": "text"}, "content_type"), ({"content_type": "text/plain"}, "content")],
    )
    def test_its_text_and_its_type_are_changed_together(self, api, url, changes, attr):
        row = upload(api, url).json()
        response = api.patch(f"{url}{row['id']}/", changes)
        assert (response.status_code, attrs(response)) == (400, [attr])
        both = {"content": "text", "content_type": "text/plain"}
        assert api.patch(f"{url}{row['id']}/", both).status_code == 200
        assert not FilePart.objects.exists()

    def test_it_comes_as_a_file_alone(self, api, url):
        body = {"title": "T", "content": "%PDF-1.7", "content_type": "application/pdf"}
        response = api.post(url, body)
        assert (response.status_code, attrs(response)) == (400, ["content_type"])


class TestKind:
    @pytest.mark.parametrize(
        ("name", "data", "kind"),
        [
            ("guide.pdf", b"# Text", "application/pdf"),
            ("guide.pdf", b"x" * 2_000 + PDF, "application/pdf"),
            ("guide.md", PDF, "text/markdown"),
            ("guide.txt", PDF, ""),
            ("guide.md", b"# Text", "image/png"),
            ("guide.html", b"<p>Text", "application/pdf"),
            ("guide.pdf", PDF, "text/html"),
        ],
    )
    def test_what_says_two_things_is_a_415(self, api, url, name, data, kind):
        response = upload(api, url, data, name, kind)
        assert response.status_code == 415
        assert not Document.objects.exists()

    @pytest.mark.parametrize(
        ("name", "data", "kind"),
        [
            ("guide.pdf", PDF, "application/pdf"),
            ("GUIDE.PDF", b"\n\n" + PDF, "application/x-pdf"),
            ("guide.pdf", PDF, "text/plain"),
            ("guide.md", b"# Text", "text/x-markdown; charset=utf-8"),
            ("guide.md", b"# About %PDF-1.7", "application/octet-stream"),
            ("guide.html", b"<p>Text", "application/xhtml+xml"),
        ],
    )
    def test_what_says_one_thing_is_taken(self, api, url, name, data, kind):
        assert upload(api, url, data, name, kind).status_code == 201


class TestForm:
    @pytest.mark.parametrize(
        ("name", "title"),
        [
            ("../../etc/passwd.md", "passwd"),
            ("..\\..\\boot.md", "boot"),
            ("a\tb\r\nX-Header: c.md", None),
            ("\u202etxt.md", "txt"),
            ("x" * 200 + ".md", "x" * 200),
            ("ünï/cödé.md", "cödé"),
            ("...md", "Untitled"),
        ],
    )
    def test_a_hostile_name_is_a_name(self, api, url, name, title):
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\ntext\r\n--x--\r\n'
        response = send_form(api, url, body % name.encode())
        if response.status_code == 201:
            assert title is None or response.json()["title"] == title
            assert not {"\r", "\n", "/", "\\"} & set(response.json()["title"])
        else:
            assert title is None
            assert response.status_code in (400, 415)

    @pytest.mark.parametrize("name", ["x" * 10_000 + ".md", "a\0b.md", "\0"])
    def test_one_without_sense_is_refused_or_cut(self, api, url, name):
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\ntext\r\n--x--\r\n'
        response = send_form(api, url, body % name.encode())
        assert response.status_code in (201, 400, 415)
        assert "\0" not in response.content.decode()

    def test_more_than_one_file_is_a_400(self, api, url):
        one = SimpleUploadedFile("a.md", b"# A")
        for form in ({"file": [one, SimpleUploadedFile("b.md", b"# B")]}, {"file": one, "other": one}):
            assert api.post(url, form, format="multipart").status_code == 400
        assert not Document.objects.exists()

    def test_what_follows_the_length_is_not_read(self, api, url):
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\nA text.\r\n--x--\r\n'
        assert send_form(api, url, body + b"more", length=len(body)).status_code == 201
        assert send_form(api, url, body, length=70).status_code == 400

    def test_one_that_is_larger_than_any_file_is_refused_before_it_is_read(self, api, url, settings):
        response = send_form(api, url, b"x", length=settings.MAX_FORM_SIZE_BYTES + 1)
        assert response.status_code == 413

    def test_a_pdf_may_be_larger_than_a_text(self, api, url, settings):
        settings.MAX_DOCUMENT_SIZE_BYTES = len(PDF) - 1
        assert upload(api, url).status_code == 201
        assert upload(api, url, b"x" * len(PDF), "a.md").status_code == 413
        settings.MAX_PDF_SIZE_BYTES = len(PDF) - 1
        assert upload(api, url).status_code == 413

    @pytest.mark.parametrize("coding", ["gzip", "deflate, gzip", "br"])
    def test_a_compressed_body_is_a_415(self, api, url, coding):
        response = api.generic("POST", url, b"\x1f\x8b", content_type="application/json", HTTP_CONTENT_ENCODING=coding)
        assert response.status_code == 415
        assert response["Accept-Encoding"] == "identity"
