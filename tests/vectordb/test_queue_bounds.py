"""How much may wait for a library's writer, in number and in bytes."""

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.vectordb.conftest import hold_writer, make_app, make_chunk, make_vector
from vectordb.engine import Database, Library
from vectordb.engine.sizes import measure_bytes
from vectordb.errors import Unavailable
from vectordb.schemas import ChunkInput, ChunkUpdate, DocumentCreate, DocumentUpdate, LibraryCreate, LibraryUpdate
from vectordb.schemas.filters import parse_filter

_BOUND = 1_000_000
_LARGE = "x" * 300_000
_WAIT_S = 10


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "bounded", max_queued_bytes=_BOUND)
    yield database
    database.close()


def test_writes_that_keep_more_memory_than_may_wait_are_told_to_come_back(database, library):
    go_on = hold_writer(library)
    queued = [library.upsert_chunks([make_chunk(number, text=_LARGE)]) for number in range(3)]
    for refused in (
        lambda: library.upsert_chunks([make_chunk(4, text=_LARGE)]),
        lambda: library.update_chunk("chunk-1", ChunkUpdate(metadata={"nested": [{"deep": _LARGE}]})),
        lambda: library.create_document(DocumentCreate(name="d", metadata={_LARGE: 1})),
        lambda: library.update_document("doc", DocumentUpdate(metadata={"a": _LARGE})),
        lambda: library.delete_chunks([f"some-{number}" for number in range(10_000)], None),
        lambda: library.delete_chunks(None, parse_filter({"$and": [{"text": _LARGE}, {"text": "x"}]})),
        lambda: database.update_library("lib", LibraryUpdate(name="new", metadata={"a": _LARGE})),
    ):
        with pytest.raises(Unavailable, match="too large") as caught:
            refused()
        assert caught.value.retry_after_s >= 1
    small = library.upsert_chunks([make_chunk(5)])
    database.create_library(LibraryCreate(name="new", dimension=2))  # the name of the change that was refused
    go_on.set()
    for future in [*queued, small]:
        future.result(_WAIT_S)
    assert library.count(None) == 4
    library.upsert_chunks([make_chunk(6, text=_LARGE)]).result(_WAIT_S)


def test_a_write_larger_than_the_bound_is_taken_when_nothing_waits(library):
    for number in range(3):
        library.upsert_chunks([make_chunk(number, text=_LARGE * 3), make_chunk(9, text=_LARGE)]).result(_WAIT_S)
    assert library.count(None) == 4


def test_writes_that_fail_give_their_room_back(library):
    for _ in range(10):
        go_on = hold_writer(library)
        failing = library.upsert_chunks([make_chunk(1, text=_LARGE * 3, document_id="nowhere")])
        go_on.set()
        assert failing.exception(_WAIT_S) is not None
    assert library._writer._queued_bytes == 0


def test_a_write_that_is_done_is_not_kept_while_the_writer_waits_for_the_next(library):
    chunks = [make_chunk(1)]
    kept = weakref.ref(chunks[0])
    library.upsert_chunks(chunks).result(_WAIT_S)
    del chunks
    deadline = time.monotonic() + _WAIT_S
    while kept() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.001)  # the writer answers a moment before it lets go
    assert kept() is None


def test_each_library_has_a_bound_of_its_own(database, library):
    go_on = hold_writer(library)
    queued = [library.upsert_chunks([make_chunk(number, text=_LARGE)]) for number in range(3)]
    other = database.create_library(LibraryCreate(name="other", dimension=4))
    other.create_document(DocumentCreate(id="doc", name="d")).result(_WAIT_S)
    other.upsert_chunks([make_chunk(1, text=_LARGE)]).result(_WAIT_S)
    go_on.set()
    for future in queued:
        future.result(_WAIT_S)


def test_over_http_it_is_a_503_with_retry_after(database, snapshots, library):
    def upsert(http: httpx.AsyncClient, number: int):
        chunk = {"id": f"c{number}", "document_id": "doc", "text": _LARGE, "embedding": make_vector(number).tolist()}
        return http.post("/libraries/lib/chunks", json={"chunks": [chunk]})

    async def use() -> None:
        transport = httpx.ASGITransport(make_app(database, snapshots, max_body_bytes=_BOUND))
        async with httpx.AsyncClient(transport=transport, base_url="http://vectordb/v1") as http:
            go_on = hold_writer(library)
            calls = [asyncio.create_task(upsert(http, number)) for number in range(8)]
            refused, _ = await asyncio.wait(calls, timeout=_WAIT_S / 2, return_when=asyncio.FIRST_COMPLETED)
            go_on.set()
            answers = await asyncio.gather(*calls)
        assert refused
        for answer in (task.result() for task in refused):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert "too large" in answer.json()["detail"]
        assert [answer.status_code for answer in answers].count(200) == 3

    asyncio.run(use())


def test_what_is_measured_is_about_what_is_kept():
    text, vector = "x" * 100_000, np.ones(10_000, dtype=np.float32)
    chunk = ChunkInput(document_id="doc", text=text, embedding=vector, metadata={"a": [{"b": "y" * 50_000}] * 2})
    assert measure_bytes([chunk]) == pytest.approx(100_000 + 40_000 + 2 * 50_000, rel=0.05)
    assert measure_bytes(np.frombuffer(bytes(40_000), dtype=np.float32)) == pytest.approx(40_000, rel=0.05)


def test_the_bound_holds_for_a_library_that_was_there_at_start(tmp_path):
    first = Database(tmp_path / "again")
    first.create_library(LibraryCreate(id="lib", name="n", dimension=4))
    first.close()
    second = Database(tmp_path / "again", max_queued_bytes=_BOUND)
    library: Library = second.get_library("lib")
    go_on = hold_writer(library)
    waiting = library.upsert_chunks([make_chunk(1, text=_LARGE * 3)])
    with pytest.raises(Unavailable, match="too large"):
        library.upsert_chunks([make_chunk(2, text=_LARGE)])
    go_on.set()
    assert waiting.exception(_WAIT_S) is not None  # there is no such document
    second.close()
