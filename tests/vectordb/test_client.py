"""The client against real servers and against sockets that misbehave."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from tests.vectordb.conftest import REPOSITORY, make_chunk, make_vector
from vectordb.client import (
    Client,
    Conflict,
    Invalid,
    NotFound,
    StorageFull,
    Unauthorized,
    Unavailable,
    VectorDBError,
    transport,
)


def test_a_whole_life_through_the_client(client, library_id):
    library = client.get_library(library_id)
    assert (library.dimension, library.metric, library.index.type) == (4, "cosine", "flat")
    assert client.update_library(library_id, metadata={"a": 1}).metadata == {"a": 1}
    assert library_id in [one.id for one in client.list_libraries(limit=1_000).libraries]
    document = client.create_document(library_id, name="second", metadata={"x": 1})
    assert client.update_document(library_id, document.id, name="third").name == "third"
    assert [one.id for one in client.list_documents(library_id).documents] == ["doc", document.id]
    result = client.upsert_chunks(library_id, [make_chunk(n) for n in range(5)] + [make_chunk(9, id=None)])
    assert (len(set(result.ids)), result.created, result.updated) == (6, 6, 0)
    assert [chunk.id for chunk in client.iter_chunks(library_id, page_size=2)] == result.ids
    chunk = client.get_chunk(library_id, "chunk-3", include_embedding=True)
    np.testing.assert_array_equal(chunk.embedding, make_vector(3))
    assert client.search(library_id, embedding=make_vector(3), k=1).results[0].chunk.id == "chunk-3"
    batch = client.search(library_id, embeddings=[make_vector(3), make_vector(4)], k=1)
    assert [hits[0].chunk.id for hits in batch.results] == ["chunk-3", "chunk-4"]
    hit = client.hybrid_search(library_id, embedding=make_vector(3), text="number 3", include=["scores"]).results[0]
    assert hit.chunk.id == "chunk-3"
    assert hit.scores.vector == pytest.approx(1.0)
    several = client.hybrid_search(library_id, embeddings=[make_vector(3), make_vector(4)], text="nothing", k=1)
    assert [hits[0].chunk.id for hits in several.results] == ["chunk-3", "chunk-4"]
    client.update_chunk(library_id, "chunk-3", text="changed", embedding=[1, 2, 3, 4])
    assert client.count(library_id, filter={"text": "changed"}) == 1
    assert client.delete_chunks(library_id, filter={"text": "changed"}).deleted == 1
    assert client.delete_chunks(library_id, ids=["chunk-1", "chunk-1", "nowhere"]).deleted == 1
    client.delete_chunk(library_id, "chunk-2")
    client.delete_document(library_id, "doc")
    assert client.count(library_id) == 0
    assert client.get_index(library_id).state == client.build_index(library_id).state == "ready"


def test_problems_become_errors_that_bear_status_detail_and_fields(client, library_id):
    with pytest.raises(NotFound, match="nowhere") as not_found:
        client.get_document(library_id, "nowhere")
    assert not_found.value.status == 404
    with pytest.raises(Conflict):
        client.create_document(library_id, name="x", id="doc")
    with pytest.raises(Invalid) as invalid:
        client.search(library_id, embedding=[1, 2])
    assert invalid.value.errors[0].attr == "embedding"
    with pytest.raises(Invalid, match="hnsw"):
        client.build_index(library_id, type="hnsw")


@pytest.mark.parametrize("id", [".", "..", "..."])
def test_an_id_of_dots_is_an_id_and_no_way_up(client, id):
    client.create_library(id=id, name=f"dots {id}", dimension=2)
    client.create_document(id, id="..", name="d")
    assert client.get_document(id, "..").name == "d"
    client.delete_document(id, "..")
    assert client.get_library(id).stats.documents == 0
    client.delete_library(id)
    with pytest.raises(NotFound):
        client.get_library(id)


def test_an_empty_id_is_refused_before_it_is_sent(client):
    with pytest.raises(Invalid):
        client.delete_library("")


@pytest.mark.parametrize("embedding", [[[1, 2]], ["a"], 5, None])
def test_what_is_no_row_of_numbers_is_refused_before_it_is_sent(embedding):
    with Client("http://127.0.0.1:1") as client, pytest.raises(Invalid):
        client.hybrid_search("lib", embedding=embedding, text="x")


def test_a_wrong_key_is_unauthorized(start_server):
    server = start_server(api_key="right")
    with Client(server.url, api_key="wrong") as client, pytest.raises(Unauthorized):
        client.list_libraries()
    assert server.client().list_libraries().libraries == []


def test_many_threads_share_one_client(client, library_id):
    def work(number: int) -> str:
        client.upsert_chunks(library_id, [make_chunk(number)])
        return client.search(library_id, embedding=make_vector(number), k=1).results[0].chunk.id

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(64))) == [f"chunk-{number}" for number in range(64)]


def test_nobody_there_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{unused.getsockname()[1]}", timeout_s=2) as client:
            assert not client.is_ready()
            with pytest.raises(Unavailable):
                client.get_library("lib")
            with pytest.raises(Unavailable):
                client.delete_library("lib")


def test_a_closed_client_is_unavailable():
    client = Client("http://127.0.0.1:1")
    client.close()
    with pytest.raises(Unavailable):
        client.get_library("lib")


Behaviour = Callable[[socket.socket, int], None]


@contextmanager
def misbehaving(behave: Behaviour) -> Iterator[tuple[str, list[int]]]:
    """A TCP server that answers each request by `behave(connection, how many requests came before)`."""
    requests: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        with connection:
            while read_request(connection):
                requests.append(1)
                try:
                    behave(connection, len(requests) - 1)
                except StopIteration:
                    return

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
    listener.close()


def read_request(connection: socket.socket) -> bytes:
    """One whole request, however many packets it comes in; empty when the client is gone."""
    received = b""
    while not (head_end := received.find(b"\r\n\r\n") + 4) > 3 or len(received) < head_end + body_size(received):
        packet = connection.recv(65_536)
        if not packet:
            return b""
        received += packet
    return received


def body_size(request: bytes) -> int:
    declared = re.search(rb"content-length: (\d+)", request.lower())
    return int(declared[1]) if declared else 0


def reply(connection: socket.socket, status: str, body: bytes, *headers: str) -> None:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    connection.sendall(head.encode() + b"\r\n\r\n" + body)


_COUNT = b'{"count": 3}'


def test_a_read_is_repeated_once_when_a_kept_connection_was_dropped():
    def behave(connection: socket.socket, number: int) -> None:
        if number == 1:
            raise StopIteration
        reply(connection, "200 OK", _COUNT)

    with misbehaving(behave) as (url, requests), Client(url, timeout_s=2) as client:
        assert client.count("lib") == 3
        assert client.count("lib") == 3
        assert len(requests) == 3


def test_a_write_is_never_repeated():
    def behave(connection: socket.socket, number: int) -> None:
        raise StopIteration

    with misbehaving(behave) as (url, requests), Client(url, timeout_s=2) as client:
        with pytest.raises(Unavailable):
            client.delete_document("lib", "doc")
        assert len(requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("503 Service Unavailable", b'{"title": "Unavailable", "detail": "later"}', Unavailable),
        ("502 Bad Gateway", b"<html>", Unavailable),
        ("500 Internal Server Error", b"[1]", Unavailable),
        ("507 Insufficient Storage", b'{"detail": "full"}', StorageFull),
        ("418 I'm a teapot", b'{"detail": "tea", "errors": [1]}', VectorDBError),
        ("200 OK", b'{"count": "many"}', Unavailable),
        ("200 OK", b"<html>", Unavailable),
        ("422 Unprocessable Entity", b'{"detail": "no", "errors": 5}', Invalid),
        ("200 OK\r\nContent-Encoding: gzip", b"no gzip", Unavailable),
        ("302 Found\r\nLocation: http://[", b"", VectorDBError),
    ],
)
def test_a_server_that_talks_nonsense_ends_in_an_error_of_ours(status, body, error):
    with (
        misbehaving(lambda connection, _: reply(connection, status, body, "Retry-After: 7")) as (url, _),
        Client(url, timeout_s=2) as client,
        pytest.raises(error) as caught,
    ):
        client.count("lib")
    if status.startswith("5") and error is Unavailable:
        assert caught.value.retry_after_s == 7


def test_a_server_that_says_nothing_is_unavailable_after_the_timeout():
    silent = threading.Event()
    with misbehaving(lambda *_: silent.wait(5)) as (url, requests), Client(url, timeout_s=0.2) as client:
        with pytest.raises(Unavailable, match="in time"):
            client.count("lib")
        silent.set()
        assert len(requests) == 1


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_server_that_trickles_is_unavailable_after_the_timeout_of_the_whole_call(head):
    """Each wait is short, in the head of the answer as in its body; without a deadline this would take a minute."""
    given_up = threading.Event()

    def trickle(connection: socket.socket, number: int) -> None:
        connection.sendall(head)
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000:
            if given_up.wait(0.05):
                break
            connection.sendall(bytes([byte]))
        raise StopIteration

    with misbehaving(trickle) as (url, requests), Client(url, timeout_s=0.3) as client:
        with pytest.raises(Unavailable, match="in time"):
            client.count("lib")
        given_up.set()
        assert len(requests) == 1


def test_an_answer_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(transport, "_MOST_ANSWER_BYTES", 1_000)
    with (
        misbehaving(lambda connection, _: reply(connection, "200 OK", b" " * 2_000)) as (url, _),
        Client(url, timeout_s=2) as client,
        pytest.raises(Unavailable, match="larger"),
    ):
        client.count("lib")


def test_an_error_without_end_is_read_no_further_than_a_problem_could_be_long():
    sent = []

    def flood(connection: socket.socket, number: int) -> None:
        connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 400000000\r\nRetry-After: 7\r\n\r\n")
        try:
            for _ in range(400):
                connection.sendall(b" " * 1_000_000)
                sent.append(1_000_000)
        except OSError:  # the client has hung up
            raise StopIteration from None

    with misbehaving(flood) as (url, requests), Client(url, timeout_s=10) as client:
        with pytest.raises(Unavailable, match="answered 500") as caught:
            client.delete_document("lib", "doc")
        assert caught.value.retry_after_s == 7
        assert len(requests) == 1
        assert sum(sent) < 20_000_000  # what the sockets' buffers take


@pytest.mark.parametrize("api_key", ["k\u20acy", "a\nb", " s3cret", "k\x00"])
def test_a_key_that_no_header_can_carry_is_refused_at_once(api_key):
    with pytest.raises(ValueError, match="API key") as caught:
        Client("http://127.0.0.1:1", api_key=api_key)
    assert api_key not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[", "nothing", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_a_url_that_leads_nowhere_is_unavailable(url):
    with pytest.raises(Unavailable), Client(url, timeout_s=1) as client:
        client.count("lib")


def test_a_filter_that_json_cannot_carry_is_refused_before_it_is_sent():
    with Client("http://127.0.0.1:1") as client:
        for call in (client.list_chunks, client.count):
            with pytest.raises(Invalid, match="JSON"):
                call("lib", filter={1: 2})


def test_the_client_brings_neither_engine_nor_server_along():
    code = (
        "import sys, vectordb.client;"
        "print([m for m in sys.modules if m.split('.')[0] in ('fastapi', 'uvicorn', 'apsw', 'numba', 'django')"
        " or m.startswith(('vectordb.engine', 'vectordb.index', 'vectordb.storage', 'vectordb.server'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "[]"
