"""Snapshots over HTTP, by the client and from the command line; carried from one server to another."""

import hashlib
import json

import httpx
import pytest

from tests.vectordb.conftest import ServerProcess, make_chunk
from tests.vectordb.test_http import assert_problem
from vectordb.client import Client, Conflict, Invalid, NotFound, SnapshotDamaged, Unauthorized

UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Two servers: one with a library of three chunks, and one that is empty."""
    folder = tmp_path_factory.mktemp("carried")
    servers = [
        ServerProcess(folder / "one", "key", ("--snapshots-dir", str(folder / "elsewhere"))).start(),
        ServerProcess(folder / "two", "key").start(),
    ]
    client = servers[0].clients[0]
    client.create_library(id="lib", name="A library", dimension=4, metadata={"a": 1})
    client.create_document("lib", name="d", id="doc")
    client.upsert_chunks("lib", [make_chunk(number) for number in range(3)])
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def clients(servers) -> list[Client]:
    for library in servers[1].clients[0].list_libraries().libraries:
        servers[1].clients[0].delete_library(library.id)
    return [server.clients[0] for server in servers]


def http(server: ServerProcess) -> httpx.Client:
    return httpx.Client(base_url=f"{server.url}/v1", headers={"X-API-KEY": "key"})


def test_a_snapshot_has_a_life(clients):
    client = clients[0]
    made = [client.snapshots.create() for _ in range(3)]
    assert client.snapshots.get(made[0].id) == made[0]
    assert [one.id for one in client.snapshots.iterate()][:3] == [one.id for one in reversed(made)]
    first = client.snapshots.list(limit=2)
    second = client.snapshots.list(limit=2, cursor=first.next_cursor)
    assert [one.id for one in (*first.snapshots, *second.snapshots)][:3] == [one.id for one in reversed(made)]
    (copy,) = made[0].libraries
    assert (copy.id, copy.documents, copy.chunks, copy.dimension) == ("lib", 1, 3, 4)
    client.upsert_chunks("lib", [make_chunk(9)])
    done = client.snapshots.restore(made[0].id, libraries=["lib"])
    assert (done.restored[0].id, done.deleted) == ("lib", [])
    assert client.get_library("lib").stats.log_position == done.restored[0].log_position
    assert (
        client.count(
            "lib",
        )
        == 3
    )
    for one in made:
        client.snapshots.delete(one.id)
        with pytest.raises(NotFound):
            client.snapshots.get(one.id)
        with pytest.raises(NotFound):
            client.snapshots.restore(one.id)


def test_a_snapshot_is_carried_to_another_server(clients, tmp_path):
    one, two = clients
    snapshot = one.snapshots.create()
    manifest = one.snapshots.download(snapshot.id, tmp_path)
    assert manifest.libraries == snapshot.libraries
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert two.snapshots.upload(tmp_path) == snapshot
    assert two.snapshots.restore(snapshot.id).restored[0].id == "lib"
    carried = [[chunk.model_dump_json() for chunk in client.iter_chunks("lib")] for client in clients]
    assert carried[0] == carried[1]
    assert len(carried[1]) == 3
    assert two.get_library("lib").metadata == {"a": 1}
    with pytest.raises(Conflict, match="already"):
        two.snapshots.upload(tmp_path)
    with pytest.raises(FileExistsError):
        one.snapshots.download(snapshot.id, tmp_path)


def test_what_was_damaged_on_the_way_is_refused_and_may_be_brought_again(clients, tmp_path):
    one, two = clients
    snapshot = one.snapshots.create()
    one.snapshots.download(snapshot.id, tmp_path)
    file = tmp_path / "000001.sqlite3"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    with pytest.raises(Conflict, match="is not what was written"):
        two.snapshots.upload(tmp_path)
    with pytest.raises(NotFound):
        two.snapshots.get(snapshot.id)
    file.write_bytes(whole)
    assert two.snapshots.upload(tmp_path).state == "ready"
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(SnapshotDamaged):
        two.snapshots.upload(tmp_path)


def test_what_cannot_be_a_snapshot_is_refused_by_name(servers, clients, tmp_path):
    one, two = clients
    snapshot = one.snapshots.create().id
    manifest = one.snapshots.download(snapshot, tmp_path)
    with http(servers[1]) as calls:
        for path in (
            f"/{UNKNOWN}/files/manifest.json",
            f"/{UNKNOWN}/files/..%2F..%2Flibrary.sqlite3",
            "/x/files/000001.sqlite3",
        ):
            assert_problem(calls.put(f"/snapshots{path}", content=b"x"), 404)
            assert_problem(calls.get(f"/snapshots{path}"), 404)
        body = json.loads(manifest.model_dump_json())
        assert_problem(calls.put(f"/snapshots/{UNKNOWN}", json=body), 422, "another snapshot")
        assert_problem(calls.put(f"/snapshots/{snapshot}", json=body), 409, "was not sent")
        library = body["libraries"][0]
        for wrong in (
            {"format": 2},
            {"libraries": [{**library, "file": "../../x"}]},
            {"libraries": [{**library, "id": "a/b"}]},
            {"libraries": [library, library]},
            {"libraries": [{**library, "size_bytes": -1}]},
            {"more": 1},
        ):
            assert_problem(calls.put(f"/snapshots/{snapshot}", json={**body, **wrong}), 422, next(iter(wrong)))
    with http(servers[0]) as calls:
        assert_problem(calls.get(f"/snapshots/{snapshot}/files/000002.sqlite3"), 404)
        assert_problem(calls.get(f"/snapshots/{snapshot}/files/LOCK"), 404)
        content = calls.get(f"/snapshots/{snapshot}/files/000001.sqlite3").content
        assert hashlib.sha256(content).hexdigest() == manifest.libraries[0].sha256
        assert_problem(calls.post(f"/snapshots/{snapshot}/restore", json={"libraries": []}), 422, "libraries")
        assert_problem(calls.post(f"/snapshots/{snapshot}/restore", json={"library": ["lib"]}), 422, "library")
        assert_problem(calls.post(f"/snapshots/{snapshot}/restore", json={"libraries": ["nowhere"]}), 404, "nowhere")
        assert_problem(calls.post("/snapshots", json={"name": "x"}), 422, "name")
        assert_problem(calls.get("/snapshots?cursor="), 422, "cursor")
        assert_problem(calls.get("/snapshots?cursor=a"), 422, "cursor")
    with pytest.raises(Invalid):
        two.snapshots.get("")


def test_without_a_body_is_enough_but_for_a_web_page(servers):
    with http(servers[0]) as calls:
        snapshot = calls.post("/snapshots")
        assert snapshot.status_code == 201
        assert calls.post(f"/snapshots/{snapshot.json()['id']}/restore").status_code == 200
        for path in ("", f"/{snapshot.json()['id']}/restore"):
            assert_problem(calls.post(f"/snapshots{path}", headers={"Origin": "https://evil.example"}), 415)


def test_snapshots_are_nobodys_without_the_key(servers):
    with Client(servers[0].url, api_key="another") as stranger:
        for call in (stranger.snapshots.create, stranger.snapshots.list, lambda: stranger.snapshots.restore(UNKNOWN)):
            with pytest.raises(Unauthorized):
                call()


def test_the_command_line_makes_lists_carries_and_restores(servers, clients, tmp_path, run_main):
    def snapshots(server: ServerProcess, *arguments: str, key: str = "key") -> tuple[object, str]:
        return run_main("snapshots", "--url", server.url, *arguments, VECTORDB_API_KEY=key)

    code, told = snapshots(servers[0], "create")
    snapshot = told.strip()
    assert code == 0
    assert f"{snapshot}  " in snapshots(servers[0], "list")[1]
    assert "1 libraries, 3 chunks" in snapshots(servers[0], "list")[1]
    assert snapshots(servers[0], "download", snapshot, str(tmp_path / "copy")) == (0, "")
    assert snapshots(servers[1], "upload", str(tmp_path / "copy")) == (0, f"{snapshot}\n")
    assert snapshots(servers[1], "restore", snapshot) == (0, "restored lib\n")
    assert snapshots(servers[1], "restore", snapshot, "--library", "lib") == (0, "restored lib\n")
    assert clients[1].count("lib") == 3
    assert snapshots(servers[1], "delete", snapshot) == (0, "")
    assert snapshots(servers[1], "delete", snapshot) == (1, f'vectordb: there is no snapshot "{snapshot}"\n')
    assert "X-API-KEY" in snapshots(servers[1], "list", key="wrong")[1]
