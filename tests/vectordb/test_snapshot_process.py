"""Snapshots of a real server under load, killed by -9 in the middle."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.vectordb.conftest import ServerProcess, make_chunk
from vectordb.client import Unavailable

LIBRARIES = ("one", "two")
SIZE = 1_500
TIMEOUT_S = 60.0
cycles = pytest.mark.parametrize(
    "cycles", [pytest.param(4, marks=pytest.mark.ci), pytest.param(100, marks=pytest.mark.soak)]
)


def call(server: ServerProcess, method: str, path: str) -> httpx.Response | None:
    """The answer; None when the server went away before there was one."""
    try:
        return httpx.request(method, f"{server.url}/v1/snapshots{path}", timeout=TIMEOUT_S)
    except httpx.TransportError:
        return None


def write_state(server: ServerProcess, state: str) -> None:
    """Let a chunk of each library tell which state it is in."""
    for library_id in LIBRARIES:
        server.clients[0].upsert_chunks(library_id, [make_chunk(0, id="state", text=state)])


def read_states(server: ServerProcess) -> set[str]:
    return {server.clients[0].get_chunk(library_id, "state").text for library_id in LIBRARIES}


@contextmanager
def load(server: ServerProcess) -> Iterator[dict[str, set[str]]]:
    """Write to each library until the server goes; gives the ids of what was acknowledged."""
    acknowledged: dict[str, set[str]] = {library_id: set() for library_id in LIBRARIES}
    stop = threading.Event()

    def write(library_id: str) -> None:
        client = server.client()
        number = 0
        while not stop.is_set():
            number += 1
            chunk = make_chunk(number, id=f"written-{number}")
            try:
                client.upsert_chunks(library_id, [chunk])
            except Unavailable:
                if server.process.poll() is not None:
                    return
                continue
            acknowledged[library_id].add(f"written-{number}")

    writing = [threading.Thread(target=write, args=(library_id,)) for library_id in LIBRARIES]
    for thread in writing:
        thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        for thread in writing:
            thread.join()


def kill_in_the_middle(server: ServerProcess, work: Callable[[], object], after_s: float) -> None:
    working = threading.Thread(target=work)
    working.start()
    time.sleep(after_s)
    server.kill()
    working.join()


@pytest.fixture
def server(start_server) -> ServerProcess:
    server = start_server()
    for library_id in LIBRARIES:
        server.clients[0].create_library(id=library_id, name=library_id, dimension=4)
        server.clients[0].create_document(library_id, name="d", id="doc")
        server.clients[0].upsert_chunks(library_id, [make_chunk(number) for number in range(SIZE)])
    write_state(server, "snapshot")
    return server


@cycles
def test_check_24_kill_9_while_a_snapshot_is_made_leaves_none_that_is_half_and_every_write(
    server, start_server, cycles
):
    began = time.monotonic()
    assert call(server, "POST", "").status_code == 201
    duration_s = time.monotonic() - began
    rng = random.Random(24)
    for _ in range(cycles):
        with load(server) as acknowledged:
            kill_in_the_middle(server, lambda on=server: call(on, "POST", ""), rng.random() * duration_s)
        server = start_server()
        for library_id, ids in acknowledged.items():
            assert ids <= {chunk.id for chunk in server.clients[0].iter_chunks(library_id)}
        kept = call(server, "GET", "").json()["snapshots"]
        assert {one["state"] for one in kept} == {"ready"}
        folders = {path.name for path in (server.data / "snapshots").iterdir()}
        assert folders == {"LOCK", *(one["id"] for one in kept)}
        assert call(server, "POST", f"/{kept[0]['id']}/restore").status_code == 200
        assert read_states(server) == {"snapshot"}


@cycles
def test_check_24_kill_9_while_a_snapshot_is_put_back_leaves_all_old_or_all_new(server, start_server, cycles):
    snapshot = call(server, "POST", "").json()["id"]
    began = time.monotonic()
    assert call(server, "POST", f"/{snapshot}/restore").status_code == 200
    duration_s = time.monotonic() - began
    rng = random.Random(24)
    seen: list[set[str]] = []
    for _ in range(cycles):
        write_state(server, "later")
        with load(server) as acknowledged:
            time.sleep(0.05)
            before = {library_id: set(ids) for library_id, ids in acknowledged.items()}
            restore = f"/{snapshot}/restore"
            kill_in_the_middle(
                server, lambda on=server, path=restore: call(on, "POST", path), rng.random() * 1.5 * duration_s
            )
        server = start_server()
        seen.append(read_states(server))
        assert len(seen[-1]) == 1
        for library_id, ids in acknowledged.items():
            stored = {chunk.id for chunk in server.clients[0].iter_chunks(library_id)}
            if seen[-1] == {"later"}:
                assert ids <= stored
            else:
                assert before[library_id].isdisjoint(stored)
        assert {path.name for path in server.data.iterdir()} == {"LOCK", "libraries", "snapshots"}
        assert len(list((server.data / "libraries").iterdir())) == len(LIBRARIES)
        assert call(server, "POST", restore).status_code == 200
        assert read_states(server) == {"snapshot"}


@pytest.mark.ci
def test_a_server_that_is_stopped_while_a_snapshot_is_made_ends_well_and_starts_again(server, start_server):
    making = threading.Thread(target=call, args=(server, "POST", ""))
    making.start()
    time.sleep(0.02)
    assert server.stop() == 0
    making.join()
    server = start_server()
    assert {one["state"] for one in call(server, "GET", "").json()["snapshots"]} <= {"ready"}
    assert read_states(server) == {"snapshot"}
