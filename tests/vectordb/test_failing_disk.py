"""What clients are told when the disk fails: the application in this process, over a disk that fails on demand."""

import asyncio

import httpx
import pytest

from tests.vectordb.conftest import hold_writer, make_app, make_vector

LIBRARY = "/v1/libraries/lib"


class LocalCalls:
    """Calls an ASGI application, one after the other."""

    def __init__(self, app) -> None:
        self._app = app

    def __call__(self, method: str, path: str, body: object = None) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://vectordb") as http:
                return await http.request(method, path, json=body)

        return asyncio.run(call())


@pytest.fixture
def call(database, snapshots) -> LocalCalls:
    call = LocalCalls(make_app(database, snapshots))
    assert call("POST", "/v1/libraries", {"id": "lib", "name": "n", "dimension": 4}).status_code == 201
    assert call("POST", f"{LIBRARY}/documents", {"id": "doc", "name": "d"}).status_code == 201
    return call


def upsert(call: LocalCalls, number: int) -> httpx.Response:
    chunk = {"id": f"c{number}", "document_id": "doc", "text": "t", "embedding": make_vector(number).tolist()}
    return call("POST", f"{LIBRARY}/chunks", {"chunks": [chunk]})


def test_check_24_after_a_failed_fsync_writes_get_503_and_reads_go_on(call, disk):
    assert upsert(call, 1).status_code == 200
    disk.fails_sync = True
    for number in (2, 3):
        refused = upsert(call, number)
        assert refused.status_code == 503
        assert refused.json()["title"] == "Read-only until restart"
        assert refused.headers["Retry-After"]
        disk.fails_sync = False
    found = call("POST", f"{LIBRARY}/search", {"embedding": make_vector(2).tolist()})
    assert [hit["chunk"]["id"] for hit in found.json()["results"]] == ["c1"]
    assert call("GET", "/readyz").json() == {"status": "degraded", "read_only": 1}
    assert call("GET", LIBRARY).json()["stats"]["read_only"] is True


def test_check_24_a_full_disk_is_a_507_until_there_is_room(call, disk):
    disk.is_full = True
    refused = upsert(call, 1)
    assert refused.status_code == 507
    assert refused.json()["title"] == "Storage full"
    disk.is_full = False
    assert upsert(call, 2).status_code == 200
    assert call("POST", f"{LIBRARY}/count", {}).json() == {"count": 1}


def test_check_24_a_snapshot_that_the_disk_has_no_room_for_is_a_507_and_breaks_nothing(call, disk):
    assert upsert(call, 1).status_code == 200
    disk.is_full = True
    refused = call("POST", "/v1/snapshots")
    assert (refused.status_code, refused.json()["title"]) == (507, "Storage full")
    assert call("GET", "/v1/snapshots").json() == {"snapshots": [], "next_cursor": None}
    disk.is_full = False
    assert upsert(call, 2).status_code == 200
    snapshot = call("POST", "/v1/snapshots").json()["id"]
    assert upsert(call, 3).status_code == 200

    disk.is_full = True
    refused = call("POST", f"/v1/snapshots/{snapshot}/restore")
    assert (refused.status_code, refused.json()["title"]) == (507, "Storage full")
    disk.is_full = False
    assert upsert(call, 4).status_code == 200
    assert call("POST", f"{LIBRARY}/count", {}).json() == {"count": 4}
    assert call("POST", f"/v1/snapshots/{snapshot}/restore").status_code == 200
    assert call("POST", f"{LIBRARY}/count", {}).json() == {"count": 2}


def test_check_24_a_snapshot_that_cannot_be_synced_is_a_503_and_the_library_goes_on(call, disk):
    disk.fails_sync = True
    refused = call("POST", "/v1/snapshots")
    disk.fails_sync = False
    if refused.status_code != 201:  # it is for SQLite to say whether it syncs what we sync once more
        assert (refused.status_code, refused.json()["title"]) == (503, "Storage failed")
        assert call("GET", "/v1/snapshots").json()["snapshots"] == []
    assert upsert(call, 1).status_code == 200
    assert call("GET", "/readyz").json() == {"status": "ready"}


def test_more_writes_than_can_wait_are_told_to_come_back(call, database):
    library = database.get_library("lib")
    go_on = hold_writer(library)
    futures = [library._writer.submit(lambda _session: None) for _ in range(1_024)]
    refused = upsert(call, 1)
    assert refused.status_code == 503
    assert "too many" in refused.json()["detail"]
    go_on.set()
    for future in futures:
        future.result(30)
    assert upsert(call, 1).status_code == 200


def test_what_nobody_expected_is_a_500_problem_without_details(call, database):
    def explode() -> None:
        raise RuntimeError("private words")

    database.list_libraries = explode
    answer = call("GET", "/v1/libraries")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "private" not in answer.text
