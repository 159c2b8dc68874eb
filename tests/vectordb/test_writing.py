"""What a library promises about writes: whole, durable, visible at once, and gone when deleted."""

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.vectordb.conftest import hold_writer, ids_of, make_chunk, make_vector
from vectordb.engine import Database
from vectordb.errors import Invalid, NotFound, ReadOnly, StorageFull, Unavailable
from vectordb.schemas import (
    ChunkUpdate,
    DocumentCreate,
    HybridSearchRequest,
    LibraryCreate,
    SearchRequest,
)
from vectordb.schemas.filters import parse_filter


def test_a_write_is_searchable_when_it_is_acknowledged(library):
    library.upsert_chunks([make_chunk(1), make_chunk(2)]).result()
    [hits] = library.search(SearchRequest(embedding=make_vector(2), k=1))
    assert ids_of(hits) == ["chunk-2"]
    assert hits[0].score == pytest.approx(1.0)


def test_log_positions_rise_by_one_with_each_write_and_a_refused_one_takes_none(library):
    first = library.upsert_chunks([make_chunk(1)]).result().log_position
    with pytest.raises(NotFound):
        library.upsert_chunks([make_chunk(2, document_id="nowhere")]).result()
    assert library.upsert_chunks([make_chunk(3)]).result().log_position == first + 1
    library.require_log_position(first + 1)
    with pytest.raises(Unavailable):
        library.require_log_position(first + 2)


def test_an_upsert_with_one_bad_chunk_changes_nothing(library):
    with pytest.raises(NotFound, match="nowhere"):
        library.upsert_chunks([make_chunk(1), make_chunk(2, document_id="nowhere")]).result()
    with pytest.raises(Invalid, match=r"chunks\.1\.embedding"):
        library.upsert_chunks([make_chunk(1), make_chunk(2, dimension=3)])
    with pytest.raises(Invalid, match=r"chunks\.0\.embedding"):
        library.upsert_chunks([make_chunk(1, embedding=np.zeros(4))])
    assert library.count(None) == 0
    assert library.search(SearchRequest(embedding=make_vector(1))) == [[]]


def test_an_upsert_replaces_by_id_and_is_idempotent(library):
    library.upsert_chunks([make_chunk(1), make_chunk(2)]).result()
    again = library.upsert_chunks([make_chunk(1, text="new words"), make_chunk(3)]).result().value
    assert (again.ids, again.created, again.updated) == (["chunk-1", "chunk-3"], 1, 1)
    assert library.count(None) == 3
    assert library.get_chunk("chunk-1", with_embedding=False).text == "new words"
    hits = library.search_hybrid(HybridSearchRequest(embedding=make_vector(9), text="new words", k=1))
    assert ids_of(hits) == ["chunk-1"]


def test_a_bad_write_does_not_take_others_of_its_commit_along(library):
    """The writer is held in its first job, so that the following ones share a transaction."""
    go_on = hold_writer(library)
    good = [library.upsert_chunks([make_chunk(number)]) for number in range(5)]
    bad = library.delete_chunk("nowhere")
    faulty = library._writer.submit(lambda session: 1 // 0)
    later = library.upsert_chunks([make_chunk(9)])
    go_on.set()
    positions = [future.result(10).log_position for future in [*good, later]]
    assert positions == list(range(positions[0], positions[0] + 6))
    with pytest.raises(NotFound):
        bad.result(10)
    with pytest.raises(ZeroDivisionError):
        faulty.result(10)
    assert library.count(None) == 6


def test_each_acknowledged_write_was_fsynced(library, disk):
    for number in range(5):
        before = disk.syncs
        library.upsert_chunks([make_chunk(number)]).result()
        assert disk.syncs > before


def test_a_failing_fsync_acknowledges_nothing_and_stops_writes_until_a_restart(library, disk, database, tmp_path):
    library.upsert_chunks([make_chunk(1)]).result()
    disk.fails_sync = True
    with pytest.raises(ReadOnly):
        library.upsert_chunks([make_chunk(2)]).result()
    disk.fails_sync = False
    with pytest.raises(ReadOnly, match="restart"):
        library.upsert_chunks([make_chunk(3)])
    assert library.read_stats().read_only
    assert ids_of(library.search(SearchRequest(embedding=make_vector(2)))[0]) == ["chunk-1"]
    database.close()
    with pytest.raises(Unavailable):
        library.count(None)
    reopened = Database(tmp_path / "data")
    found = reopened.get_library("lib")
    assert found.get_chunk("chunk-1", with_embedding=False).text == "text number 1"
    found.upsert_chunks([make_chunk(4)]).result()
    reopened.close()


def test_a_failing_fsync_while_the_log_is_emptied_stops_writes_too(library, disk):
    library.upsert_chunks([make_chunk(1), make_chunk(2)]).result()
    held = threading.Event()

    def fail_after_the_commit(session):
        session.erases = True
        held.set()

    original = library._writer._file.checkpoint

    def checkpoint(*, erase):
        disk.fails_sync = True
        return original(erase=erase)

    library._writer._file.checkpoint = checkpoint
    library._writer.submit(fail_after_the_commit).result()  # committed: acknowledged
    with pytest.raises(ReadOnly):
        library.upsert_chunks([make_chunk(3)])


def test_a_full_disk_refuses_the_write_keeps_reads_and_recovers(library, disk):
    library.upsert_chunks([make_chunk(1)]).result()
    disk.is_full = True
    with pytest.raises(StorageFull):
        library.upsert_chunks([make_chunk(2)]).result()
    assert library.count(None) == 1
    assert ids_of(library.search(SearchRequest(embedding=make_vector(2)))[0]) == ["chunk-1"]
    disk.is_full = False
    library.upsert_chunks([make_chunk(3)]).result()
    assert library.count(None) == 2


def test_a_library_is_not_made_on_a_full_disk_and_leaves_nothing_behind(database, disk, tmp_path):
    disk.is_full = True
    with pytest.raises(StorageFull):
        database.create_library(LibraryCreate(id="new", name="new", dimension=2))
    disk.is_full = False
    assert list((tmp_path / "data" / "libraries").iterdir()) == []
    database.create_library(LibraryCreate(id="new", name="new", dimension=2))


@pytest.mark.parametrize("erase", ["chunk", "chunks", "filter", "document", "upsert", "patch", "library"])
def test_deleted_and_replaced_text_leaves_no_byte_on_disk(database, library, tmp_path, erase):
    secret = "the-secret-that-must-go"
    library.upsert_chunks([make_chunk(1, text=f"{secret} " * 400), *(make_chunk(n) for n in range(2, 300))]).result()
    assert _on_disk(tmp_path, secret)
    match erase:
        case "chunk":
            library.delete_chunk("chunk-1").result()
        case "chunks":
            assert library.delete_chunks(["chunk-1", "nowhere"], None).result().value == 1
        case "filter":
            condition = parse_filter({"text": f"{secret} " * 400})
            assert library.delete_chunks(None, condition).result().value == 1
        case "document":
            library.delete_document("doc").result()
        case "upsert":
            library.upsert_chunks([make_chunk(1)]).result()
        case "patch":
            library.update_chunk("chunk-1", ChunkUpdate(text="other")).result()
        case "library":
            database.delete_library("lib")
    assert not _on_disk(tmp_path, secret)


def test_what_a_reader_kept_in_the_log_is_erased_by_the_next_write(library, tmp_path):
    library.upsert_chunks([make_chunk(1, text="the-secret " * 400)]).result()
    with library._readers.reader() as file:
        rows = file.connection.execute("SELECT id FROM chunks")
        next(rows)
        with library._readers.reader() as other:  # holds a snapshot of before the deletion
            other.connection.execute("BEGIN")
            other.connection.execute("SELECT count(*) FROM chunks").get  # noqa: B018
            library.delete_chunk("chunk-1").result()
            other.connection.execute("COMMIT")
        rows.close()
    library.create_document(DocumentCreate(name="another")).result()
    assert not _on_disk(tmp_path, "the-secret")


def test_a_chunk_moves_to_another_document(library):
    library.create_document(DocumentCreate(id="other", name="x")).result()
    library.upsert_chunks([make_chunk(1)]).result()
    moved = library.update_chunk("chunk-1", ChunkUpdate(document_id="other", metadata={"a": 1})).result().value
    assert (moved.document_id, moved.text) == ("other", "text number 1")
    library.delete_document("doc").result()
    assert library.count(None) == 1
    with pytest.raises(NotFound):
        library.update_chunk("chunk-1", ChunkUpdate(document_id="doc")).result()


def test_a_number_is_never_given_twice(library):
    library.upsert_chunks([make_chunk(1)]).result()
    first = library.get_chunk("chunk-1", with_embedding=False).number
    library.delete_chunk("chunk-1").result()
    library.upsert_chunks([make_chunk(1)]).result()
    assert library.get_chunk("chunk-1", with_embedding=False).number > first


def test_writes_to_a_closed_library_are_refused(database, library):
    library.close()
    with pytest.raises(Unavailable):
        library.upsert_chunks([make_chunk(1)])


def _on_disk(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())
