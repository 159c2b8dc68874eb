"""Check 23, as far as documents, uploads and answers go: a real web server and a real ingest worker, under attack.

Their memory is looked at before and after all of it, at its highest.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from markdown_it import MarkdownIt

from deploy.local.process import Child
from knowledge.models import Document
from teams.models import Project, Scope
from teams.services import create_api_key
from tests.crash.service import Service, tell, wait_until
from tests.factories.teams import ProjectFactory
from tests.integration.hostile import (
    REFUSED_ADDRESSES,
    Canary,
    acting,
    addresses_never_fetched,
    fetching,
    running_canary,
)
from tests.knowledge import pdfs
from tests.plugin import LOGS, VectorDBServer, neighbours

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.broker]

MIB = 1 << 20
MOST_GROWTH_BYTES = 100 * MIB
PDF_BOMBS = {
    "bomb": pdfs.bomb,
    "bomb in a bomb": lambda: pdfs.bomb(layers=3),
    "bomb of references": pdfs.bomb_in_object_stream,
    "nested arrays": pdfs.nested_arrays,
    "endless page tree": pdfs.endless_page_tree,
    "nested forms": lambda: pdfs.nested_forms(12),
    "scanned": pdfs.scanned,
    "truncated": lambda: pdfs.pdf_of("The word.")[:300],
    "encrypted": lambda: pdfs.encrypted("password"),
}
SLOW_PDFS = {"inflations": pdfs.bomb_of_many, "operators": pdfs.slow_content}


@dataclass(frozen=True, slots=True)
class Target:
    """A running service, a project in it, and a key."""

    service: Service
    web: Child
    worker: Child
    client: httpx.Client
    project: Project
    key: str

    @property
    def documents(self) -> str:
        return f"/knowledge/v1/projects/{self.project.pk}/documents/"

    def upload(self, data: bytes, name: str = "a.pdf") -> httpx.Response:
        return self.client.post(self.documents, files={"file": (name, data)})

    def wait_until_settled(self, timeout_s: float = 90) -> None:
        wait_until(lambda: not Document.objects.filter(state="pending", error="").exists(), timeout_s, "all is read")

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        url = self.client.base_url
        with socket.create_connection((url.host, url.port), timeout=20) as connection:
            yield connection

    def send_raw(self, head: str, body: bytes = b"", *, hangs_up: bool = False) -> bytes:
        """What comes back for these very bytes, if anything."""
        with self.connected() as connection:
            request = (
                f"POST {self.documents} HTTP/1.1\r\nHost: {self.client.base_url.host}\r\nX-API-KEY: {self.key}\r\n"
            )
            connection.sendall(f"{request}{head}\r\n\r\n".encode() + body)
            if hangs_up:
                connection.shutdown(socket.SHUT_WR)
            try:
                return connection.recv(65536)
            except TimeoutError:
                return b""

    def highest_bytes(self) -> int:
        """What the web server's and the worker's processes had in memory at their highest, together."""
        processes = [*_family(self.web.pid), *_family(self.worker.pid)]
        return sum(_read_kib(pid, "VmHWM") for pid in processes if not _is_extraction(pid)) * 1024


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _is_extraction(pid: int) -> bool:
    return b"knowledge.extraction" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _read_kib(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


@pytest.fixture
def target(request: pytest.FixtureRequest, broker: str, vectordb_server: VectorDBServer) -> Iterator[Target]:
    project = ProjectFactory()
    _, key = create_api_key(project=project, name="test", scopes=Scope.values)
    environment = {"EMBEDDER": "tests.knowledge.fakes.TinyEmbedder", "LLM": "tests.integration.hostile.ObedientLLM"}
    service = Service(neighbours, broker, environment, logs=request.node.stash.setdefault(LOGS, []))
    worker = service.start_worker("ingest")
    web = service.start_web()
    web.client.headers["X-API-KEY"] = key
    yield Target(service, web.child, worker, web.client, project, key)
    service.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    with running_canary() as made:
        yield made


def test_check_23_hostile_documents_uploads_and_answers(target: Target, canary: Canary):
    assert_all_is_well(target)
    before = target.highest_bytes()

    answers_stay_inert(target, canary)
    addresses_are_names(target, canary)
    nothing_is_fetched(target, canary)
    bodies_too_large_are_not_read(target)
    bodies_of_many_values_are_refused(target)
    compressed_bodies_are_refused(target)
    nonsense_is_refused(target)
    forms_that_lie_leave_nothing(target)
    pdf_bombs_fail(target, PDF_BOMBS)

    grown = target.highest_bytes() - before
    tell(f"the highest memory of web server and worker grew by {grown / MIB:.0f} MiB")
    assert grown < MOST_GROWTH_BYTES
    assert_all_is_well(target)
    assert canary.visits == []


@pytest.mark.ci
def test_check_23_slow_files_end(target: Target):
    """Minutes of computing in a few bytes are cut off."""
    target.service.start_beat()  # what did not get its turn on a busy machine is tried again
    assert_all_is_well(target)
    before = target.highest_bytes()
    pdf_bombs_fail(target, SLOW_PDFS, timeout_s=600)
    assert target.highest_bytes() - before < MOST_GROWTH_BYTES
    assert_all_is_well(target)


def assert_all_is_well(target: Target) -> None:
    """A document is read, a PDF is read, a question answered."""
    body = {
        "title": "Good",
        "content": "# Good\n\nThe good word.",
        "content_type": "text/markdown",
        "external_id": "good",
    }
    assert target.client.post(target.documents, json=body).is_success
    pdf = target.client.post(
        target.documents, files={"file": ("b.pdf", pdfs.pdf_of("Well read."))}, data={"external_id": "b"}
    )
    assert pdf.is_success
    target.wait_until_settled()
    assert Document.objects.filter(external_id__in=["good", "b"], state="indexed").count() == 2
    assert "good word" in ask(target, "What is the good word?")["answer"]


def ask(target: Target, question: str) -> dict[str, Any]:
    answer = target.client.post(f"/query/v1/projects/{target.project.pk}/chat", json={"question": question})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return dict(answer.json())


def stream(target: Target, question: str) -> tuple[list[str], dict[str, Any]]:
    """The text after each delta, and the answer at the end."""
    path = f"/query/v1/projects/{target.project.pk}/chat/stream"
    shown, texts, done = "", [], {}
    for event in target.client.post(path, json={"question": question}).text.split("\n\n"):
        name, _, data = event.partition("\n")
        if name == "event: delta":
            shown += json.loads(data.removeprefix("data: "))["text"]
            texts.append(shown)
        elif name == "event: done":
            done = json.loads(data.removeprefix("data: "))
    return texts, done


def answers_stay_inert(target: Target, canary: Canary) -> None:
    corpus = acting(canary.url)
    for number, markup in enumerate(corpus):
        body = {
            "title": f"<script>{number}</script>",
            "content": f"About topic{number}:\n\n{markup}\n\nSo topic{number}.",
        }
        made = target.client.post(target.documents, json={**body, "content_type": "text/plain"})
        assert made.status_code == 201
    target.wait_until_settled()
    for number, markup in enumerate(corpus):
        question = f"What about topic{number}?"
        answer = ask(target, question)
        assert not answer["is_uncertain"]
        texts, done = stream(target, question)
        assert texts
        for text in (answer["answer"], done["answer"], *texts):
            assert find_acting(text, canary) == [], markup
        thread = target.client.get(f"/query/v1/projects/{target.project.pk}/threads/{answer['thread_id']}/").json()
        assert find_acting(thread["question_answers"][0]["answer"], canary) == []


def find_acting(text: str, canary: Canary) -> list[str]:
    """What in an answer would be fetched or run by a page that shows it, or leads where no document leads."""
    tokens = [each for token in MarkdownIt("commonmark").parse(text) for each in (token, *(token.children or ()))]
    acting = [each.type for each in tokens if each.type in ("html_block", "html_inline", "image")]
    links = [str(each.attrGet("href")) for each in tokens if each.type == "link_open"]
    return [*acting, *(link for link in links if not link.startswith(canary.url))]


def addresses_are_names(target: Target, canary: Canary) -> None:
    body = {"title": "A", "content": "The word.", "content_type": "text/plain"}
    for address in REFUSED_ADDRESSES:
        refused = target.client.post(target.documents, json={**body, "source_url": address})
        assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "source_url"), address
    for address in addresses_never_fetched(canary.url):
        assert target.client.post(target.documents, json={**body, "source_url": address}).status_code == 201, address
    target.wait_until_settled()
    assert canary.visits == []


def nothing_is_fetched(target: Target, canary: Canary) -> None:
    for content, content_type in fetching(canary.url):
        body = {"title": "Fetch", "content": content, "content_type": content_type}
        assert target.client.post(target.documents, json=body).status_code == 201
    assert target.upload(pdfs.linked_to(canary.url)).status_code == 201
    target.wait_until_settled()
    assert not Document.objects.filter(content__contains="root:x:0").exists()
    passages = target.client.post(
        f"/query/v1/projects/{target.project.pk}/retrieval", json={"query": "The word.", "top_k": 50}
    )
    assert "root:" not in passages.text
    assert canary.visits == []


def bodies_too_large_are_not_read(target: Target) -> None:
    """The answer comes while nothing of the body was sent."""
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        for length in (100 * MIB, 10**12, 10**30):
            said = target.send_raw(f"Content-Type: {kind}\r\nContent-Length: {length}")
            assert said.startswith(b"HTTP/1.1 413"), said
    said = target.send_raw("Content-Type: application/json\r\nTransfer-Encoding: chunked", b"5\r\n{}   \r\n0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 411"), said
    assert target.upload(b"x" * (6 * MIB), "a.txt").status_code == 413
    assert target.upload(pdfs.pdf_of("The word.") + b"x" * (30 * MIB)).status_code == 413
    assert target.client.post(target.documents, json={"title": "A", "content": "x" * (6 * MIB)}).status_code in (
        400,
        413,
    )


def bodies_of_many_values_are_refused(target: Target) -> None:
    """Made into lists, what a document's body may have would take thirty times its size."""
    many = b"[]," * (5 * MIB) + b"[]]}"
    chat = f"/query/v1/projects/{target.project.pk}/chat"
    for path, name, status in ((chat, b"question", 413), (target.documents, b"title", 400)):
        body = b'{"' + name + b'":[' + many
        refused = target.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert refused.status_code == status, path


def compressed_bodies_are_refused(target: Target) -> None:
    bomb = gzip.compress(b" " * (256 * MIB), 1)
    for coding in ("gzip", "deflate", "br", "gzip, gzip"):
        refused = target.client.post(
            target.documents, content=bomb, headers={"Content-Encoding": coding, "Content-Type": "application/json"}
        )
        assert refused.status_code == 415
    assert target.upload(bomb, "a.md").status_code == 400
    assert target.upload(bomb, "a.gz").status_code == 415


def nonsense_is_refused(target: Target) -> None:
    for body in (b"[" * MIB, b'{"a":' * MIB, b'"' + b"\\u0000" * 1000 + b'"', b"\xff" * 1000, b"1" * MIB, b"NaN"):
        refused = target.client.post(target.documents, content=body, headers={"Content-Type": "application/json"})
        assert refused.status_code == 400
    for name in ("../" * 50 + "etc/passwd.md", "\\..\\a.md", "a" * 10_000 + ".md", "%00.md", ".htaccess", "a.md/b.php"):
        answered = target.upload(b"The word.", name)
        assert answered.status_code in (201, 400, 415)
        assert answered.status_code != 201 or "/" not in answered.json()["title"]
    target.wait_until_settled()


def forms_that_lie_leave_nothing(target: Target) -> None:
    count = Document.objects.count()
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\n' + b"A long text. " * 1000
    whole = part + b"\r\n--x--\r\n"
    kind = "Content-Type: multipart/form-data; boundary=x\r\nConnection: close\r\n"
    for length, body in (
        (len(whole) + 1000, whole[:5000]),  # hangs up in the middle of the file
        (len(whole) + 1000, part),
        (5000, whole),  # says less than it sends
        (len(whole), whole.replace(b"--x--", b"--y--")),
    ):
        said = target.send_raw(f"{kind}Content-Length: {length}", body, hangs_up=True)
        assert not said.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")), said
    assert Document.objects.count() == count
    with target.connected() as silent:  # says more than it ever sends, and keeps quiet
        head = f"POST {target.documents} HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: {target.key}\r\n{kind}"
        silent.sendall(f"{head}Content-Length: 99999\r\n\r\n".encode() + part)
        started = time.monotonic()
        assert target.client.get("/healthz").status_code == 200
        assert time.monotonic() - started < 5
    assert Document.objects.count() == count
    two = [("file", ("a.md", b"A")), ("file", ("b.md", b"B"))]
    assert target.client.post(target.documents, files=two).status_code == 400
    many = {f"field{number}": "x" for number in range(2_000)}
    assert target.client.post(target.documents, data=many, files={"file": ("a.md", b"A")}).status_code == 400


def pdf_bombs_fail(target: Target, bombs: dict[str, Any], timeout_s: float = 120) -> None:
    sent = {}
    for name, make in bombs.items():
        made = target.upload(make())
        assert made.status_code == 201
        sent[made.json()["id"]] = name
    wait_until(lambda: not Document.objects.filter(pk__in=sent, state="pending").exists(), timeout_s, "they failed")
    for document_id, name in sent.items():
        row = target.client.get(f"{target.documents}{document_id}/").json()
        assert row["state"] == "failed", name
        assert "PDF" in row["error"], name
