"""A real web server whose temporary files have little room of their own, as in a container."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import find_free_port
from deploy.local.process import Child, wait_until_ready
from deploy.local.services import answers
from teams.models import Project, Scope
from teams.services import create_api_key
from tests.crash.service import WEB_ENVIRONMENT
from tests.factories.teams import ProjectFactory
from tests.knowledge import pdfs
from tests.plugin import LOGS, START_TIMEOUT_S, VectorDBServer, _test_database_url, neighbours

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.ci]

FILE = pdfs.pdf_of("The word.") + b"x" * 19_000_000
# In a mount namespace of its own: the folder of temporary files has 30 MiB, for two uploads of nearly 20 not enough.
IN_LITTLE_ROOM = 'mount -t tmpfs -o size=30m tmpfs "$TMPDIR" && exec "$@"'


@dataclass(frozen=True, slots=True)
class Web:
    child: Child
    client: httpx.Client
    project: Project

    def upload(self, data: bytes) -> httpx.Response:
        return self.client.post(f"/knowledge/v1/projects/{self.project.pk}/documents/", files={"file": ("a.pdf", data)})

    def workers(self) -> list[str]:
        return Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()


@pytest.fixture
def little_room(tmp_path: Path) -> Path:
    folder = tmp_path / "little"
    folder.mkdir()
    return folder


@pytest.fixture
def web(
    request: pytest.FixtureRequest, broker: str, vectordb_server: VectorDBServer, tmp_path: Path, little_room: Path
) -> Iterator[Web]:
    project = ProjectFactory()
    _, key = create_api_key(project=project, name="test", scopes=Scope.values)
    port = find_free_port()
    environment = {
        **WEB_ENVIRONMENT,
        "DATABASE_URL": _test_database_url(),
        "CELERY_BROKER_URL": broker,
        "TMPDIR": str(little_room),
        "METRICS_DIR": str(tmp_path / "figures"),
    }
    argv = ["unshare", "--mount", "/bin/sh", "-c", IN_LITTLE_ROOM, "-"]
    argv += [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.py", "--bind", f"127.0.0.1:{port}"]
    command = neighbours.command(f"web-{port}", argv, environment, is_ready=lambda: answers(port, "/healthz"))
    child = neighbours.supervisor.start(command)
    request.node.stash.setdefault(LOGS, []).append(command.log_path)
    wait_until_ready(child, timeout_s=START_TIMEOUT_S)
    headers = {"X-API-KEY": key}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
        yield Web(child, client, project)
    neighbours.supervisor.stop_together([child])


def fill(folder: Path) -> Path:
    """The file that takes all the room that is left."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return filler


def count_something_new(web: Web) -> None:
    """Calls that were not made before: what counts them needs more room."""
    for room in ("query/v1", "knowledge/v1"):
        for path in ("threads", "categories", "categorisation/runs", "documents", "documents/reindex"):
            for method in ("GET", "PUT", "OPTIONS", "DELETE"):
                answer = web.client.request(method, f"/{room}/projects/{web.project.pk}/{path}/")
                assert answer.status_code < 500


def test_a_full_folder_of_temporary_files_ends_no_process(web: Web, little_room: Path):
    before = web.workers()
    # as the server sees it: it has a mount there that nobody else has
    filler = fill(Path(f"/proc/{web.child.pid}/root{little_room}"))

    refused = web.upload(FILE)
    count_something_new(web)

    assert (refused.status_code, refused.headers.get("Retry-After")) == (503, "5"), refused.text
    filler.unlink()
    assert web.upload(FILE).status_code in (200, 201)
    assert web.workers() == before


def test_uploads_at_once_with_room_for_one_are_taken_or_asked_to_come_again(web: Web):
    before = web.workers()
    statuses = []
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(web.upload, [FILE] * 8):
            assert answer.status_code in (200, 201, 503)
            assert answer.status_code != 503 or int(answer.headers["Retry-After"]) > 0
            statuses.append(answer.status_code)
            assert web.client.get(f"/query/v1/projects/{web.project.pk}/threads/").status_code == 200
    assert 503 in statuses
    assert web.upload(FILE).status_code in (200, 201)  # nothing is left behind
    assert "parley_http_requests_total" in web.client.get("/metrics").text
    assert web.workers() == before
