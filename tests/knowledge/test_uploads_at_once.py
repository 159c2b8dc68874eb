"""Large bodies: so many at once, and a folder of temporary files without room ends in a 503."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from django.conf import settings as configured
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest
from django.test import RequestFactory
from rest_framework.test import APIClient

from config.bodies import TooManyUploads, Uploads, uploads
from knowledge.models import Document
from teams.models import Project, Scope
from teams.services import create_api_key

LARGE = configured.MAX_REQUEST_SIZE_BYTES + 1


class FullDisk(TemporaryFileUploadHandler):
    """Where a file begins, and then there is no room."""

    seen: ClassVar[list[TemporaryUploadedFile]] = []

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        self.seen.append(self.file)
        raise OSError(errno.ENOSPC, "No space left on device")


def request_of(size_bytes: int) -> HttpRequest:
    request = HttpRequest()
    request.META["CONTENT_LENGTH"] = str(size_bytes)
    return request


@contextmanager
def in_hand(held: Uploads, size_bytes: int) -> Iterator[None]:
    request = request_of(size_bytes)
    held.begin(request)
    try:
        yield
    finally:
        held.end(request)


@pytest.fixture
def url(project) -> str:
    return f"/knowledge/v1/projects/{project.pk}/documents/"


def upload(api: APIClient, url: str, size_bytes: int, **fields: str):
    file = SimpleUploadedFile("a.md", b"x" * size_bytes)
    return api.post(url, {"file": file, **fields}, format="multipart")


def test_one_too_many_waits_and_is_refused():
    held = Uploads(2, wait_s=0.05)
    with in_hand(held, LARGE), in_hand(held, LARGE):
        with pytest.raises(TooManyUploads):
            held.begin(request_of(LARGE))
        with in_hand(held, LARGE - 1), in_hand(held, 0):
            assert len(held) == 2
    with in_hand(held, LARGE), in_hand(held, LARGE):
        assert len(held) == 2
    assert len(held) == 0


def test_whoever_waits_takes_the_place_that_becomes_free():
    held = Uploads(1, wait_s=20)
    with ThreadPoolExecutor(1) as pool, ExitStack() as first:
        first.enter_context(in_hand(held, LARGE))
        waiting = pool.submit(lambda: held.begin(request_of(LARGE)))
        first.close()
        waiting.result(timeout=10)
    assert len(held) == 1


def test_a_place_is_given_back_once():
    held = Uploads(1, wait_s=0)
    request = request_of(LARGE)
    held.begin(request)
    held.end(request)
    held.end(request)
    held.begin(request)
    with pytest.raises(TooManyUploads):
        held.begin(request_of(LARGE))


def test_a_large_body_too_many_is_a_503_and_small_ones_are_served(api: APIClient, url: str):
    with ExitStack() as places:
        for _ in range(configured.UPLOADS_AT_ONCE):
            places.enter_context(in_hand(uploads, LARGE))
        refused = upload(api, url, LARGE)
        assert (refused.status_code, refused["Retry-After"]) == (503, "2")
        assert refused.json()["type"] == "server_error"
        assert upload(api, url, 1000).status_code == 201
    assert upload(api, url, LARGE).status_code == 201
    assert len(uploads) == 0


def test_who_has_no_key_takes_no_place(url: str):
    with ExitStack() as places:
        for _ in range(configured.UPLOADS_AT_ONCE):
            places.enter_context(in_hand(uploads, LARGE))
        assert upload(APIClient(), url, LARGE).status_code == 401


def test_places_are_given_back_however_it_ends(api: APIClient, url: str, settings):
    settings.MAX_DOCUMENT_SIZE_BYTES = LARGE
    broken = "multipart/form-data; boundary=x"
    body = {"title": "A", "content_type": "text/plain"}
    for answer, status in (
        (upload(api, url, LARGE), 201),
        (upload(api, url, LARGE + 1), 413),
        (upload(api, url, LARGE, metadata="["), 400),
        (api.post(url, {**body, "content": "x" * LARGE}, format="json"), 201),
        (api.generic("POST", url, b"[" * LARGE, content_type="application/json"), 400),
        (api.generic("POST", url, b"--x\r\n" * LARGE, content_type=broken), 400),
        (api.generic("POST", url, b"x" * LARGE, content_type="text/xml"), 415),
    ):
        assert answer.status_code == status
        assert len(uploads) == 0


def test_a_form_without_room_for_its_file_is_a_503_and_leaves_nothing(api: APIClient, url: str, settings):
    settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.FullDisk"]
    refused = upload(api, url, LARGE)
    assert (refused.status_code, refused["Retry-After"]) == (503, "5")
    assert "room" in refused.json()["errors"][0]["detail"]
    assert not Document.objects.exists()
    assert [Path(file.temporary_file_path()).exists() for file in FullDisk.seen] == [False]
    assert len(uploads) == 0


class Watched(TemporaryFileUploadHandler):
    seen: ClassVar[list[TemporaryUploadedFile]] = []

    def file_complete(self, file_size: int) -> TemporaryUploadedFile:
        self.seen.append(self.file)
        return super().file_complete(file_size)


def test_a_place_is_given_away_when_its_temporary_file_is_gone(project: Project, settings):
    """However long the answer then takes to reach whoever asked: here nobody has taken it yet."""
    settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Watched"]
    _, key = create_api_key(project=project, name="test", scopes=Scope.values)
    sent = {"file": SimpleUploadedFile("a.md", b"x" * LARGE)}
    path = f"/knowledge/v1/projects/{project.pk}/documents/"
    request = RequestFactory(headers={"X-API-KEY": key}).post(path, sent)
    assert get_wsgi_application().get_response(request).status_code == 201
    assert [Path(file.temporary_file_path()).exists() for file in Watched.seen] == [False]
