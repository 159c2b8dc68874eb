"""Who waits for whom, and who must not: one library's writer is held, and others go on."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.vectordb.conftest import hold_writer, make_app, make_chunk, make_vector
from vectordb.engine import Database, Snapshots
from vectordb.errors import Conflict, NotFound, ReadOnly, StorageFull
from vectordb.schemas import LibraryCreate, LibraryUpdate

_MORE_THAN_THREADS = 60
_PATIENCE_S = 10


def with_calls(database: Database, snapshots: Snapshots, use: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Give `use` a client of the application, whose calls may overlap."""

    async def run() -> None:
        transport = httpx.ASGITransport(make_app(database, snapshots, max_body_bytes=10_000_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://vectordb/v1") as http:
            await use(http)

    asyncio.run(run())


def many_chunks(first: int) -> dict[str, object]:
    """A body of so many chunks that they are looked through on a thread."""
    return {
        "chunks": [
            {"id": f"c{number}", "document_id": "doc", "text": "t", "embedding": make_vector(number).tolist()}
            for number in range(first, first + 101)
        ]
    }


def test_searches_and_pages_answer_while_more_writes_wait_than_there_are_threads(database, snapshots, library):
    library.upsert_chunks([make_chunk(number) for number in range(300)]).result()
    doomed = [database.create_library(LibraryCreate(id=f"l{n}", name=f"l{n}", dimension=2)) for n in range(20)]

    async def use(http: httpx.AsyncClient) -> None:
        held = [hold_writer(one) for one in (library, *doomed)]
        try:
            writes = [
                *(http.post("/libraries/lib/chunks", json=many_chunks(n)) for n in range(_MORE_THAN_THREADS)),
                *(http.patch("/libraries/lib", json={"metadata": {"n": n}}) for n in range(_MORE_THAN_THREADS)),
                *(http.delete(f"/libraries/{one.row.id}") for one in doomed),
            ]
            waiting = [asyncio.create_task(write) for write in writes]
            await asyncio.sleep(0.2)  # so that they have all got as far as they can
            query = {"embeddings": [make_vector(1).tolist()] * 11, "k": 100}  # too many results for the event loop
            found = await asyncio.wait_for(http.post("/libraries/lib/search", json=query), _PATIENCE_S)
            assert len(found.json()["results"]) == 11
            page = await asyncio.wait_for(http.get("/libraries/lib/chunks"), _PATIENCE_S)
            assert len(page.json()["chunks"]) == 100
            assert not any(task.done() for task in waiting)
        finally:
            for go_on in held:
                go_on.set()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200, 204}

    with_calls(database, snapshots, use)


def test_libraries_are_made_changed_and_deleted_while_a_change_of_another_waits_for_its_writer(
    database, snapshots, library
):
    async def use(http: httpx.AsyncClient) -> None:
        go_on = hold_writer(library)
        try:
            waiting = [
                asyncio.create_task(http.patch("/libraries/lib", json={"metadata": {"n": n}}))
                for n in range(_MORE_THAN_THREADS)
            ]
            await asyncio.sleep(0.1)
            others = {"id": "other", "name": "other", "dimension": 2}
            made = await asyncio.wait_for(http.post("/libraries", json=others), _PATIENCE_S)
            changed = await asyncio.wait_for(http.patch("/libraries/other", json={"name": "third"}), _PATIENCE_S)
            deleted = await asyncio.wait_for(http.delete("/libraries/other"), _PATIENCE_S)
            assert (made.status_code, changed.status_code, deleted.status_code) == (201, 200, 204)
            assert not any(task.done() for task in waiting)
        finally:
            go_on.set()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}

    with_calls(database, snapshots, use)


def test_a_name_is_taken_from_the_moment_a_change_to_it_is_queued(database, library):
    go_on = hold_writer(library)
    renaming = database.update_library("lib", LibraryUpdate(name="new"))
    for name in ("new", "a library"):
        with pytest.raises(Conflict):
            database.create_library(LibraryCreate(id="other", name=name, dimension=2))
    twice = database.update_library("lib", LibraryUpdate(name="newer"))
    go_on.set()
    assert renaming.result(_PATIENCE_S).value.name == "new"
    assert twice.result(_PATIENCE_S).value.name == database.get_library("lib").row.name == "newer"
    for name in ("new", "a library"):
        database.create_library(LibraryCreate(name=name, dimension=2))


def test_only_one_of_many_libraries_gets_a_name_that_all_of_them_want(database):
    for number in range(8):
        database.create_library(LibraryCreate(id=f"l{number}", name=f"l{number}", dimension=2))
    start = threading.Barrier(8)
    outcomes: list[str] = []

    def rename(number: int) -> None:
        start.wait(_PATIENCE_S)
        try:
            outcomes.append(database.update_library(f"l{number}", LibraryUpdate(name="it")).result().value.name)
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=rename, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["it"]
    assert [one.row.name for one in database.list_libraries()].count("it") == 1


def test_a_name_that_was_not_given_after_all_is_free(database, library, disk):
    disk.is_full = True
    with pytest.raises(StorageFull):
        database.update_library("lib", LibraryUpdate(name="new")).result()
    disk.is_full = False
    database.create_library(LibraryCreate(id="other", name="new", dimension=2))
    assert database.get_library("lib").row.name == "a library"


def test_a_name_of_unknown_fate_is_given_to_nobody_until_a_restart(database, library, disk):
    disk.fails_sync = True
    with pytest.raises(ReadOnly):
        database.update_library("lib", LibraryUpdate(name="new")).result()
    disk.fails_sync = False
    for name in ("new", "a library"):
        with pytest.raises(Conflict):
            database.create_library(LibraryCreate(name=name, dimension=2))
    database.delete_library("lib")
    database.create_library(LibraryCreate(name="new", dimension=2))


def test_a_library_that_is_deleted_gives_the_name_back_that_it_was_about_to_get(database, library):
    go_on = hold_writer(library)
    renaming = database.update_library("lib", LibraryUpdate(name="new"))
    deleting = threading.Thread(target=database.delete_library, args=("lib",))
    deleting.start()
    while database.list_libraries():
        pass
    database.create_library(LibraryCreate(id="lib", name="new", dimension=2))
    go_on.set()
    deleting.join(_PATIENCE_S)
    with pytest.raises(NotFound):
        renaming.result(_PATIENCE_S)
    assert database.get_library("lib").row.name == "new"
    with pytest.raises(Conflict):
        database.create_library(LibraryCreate(name="new", dimension=2))
