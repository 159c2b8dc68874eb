"""Snapshots: what is put back is what was there, while others write, search and delete."""

import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vectordb.conftest import hold_writer, make_chunk, make_vector
from vectordb.engine import Database, Library, Snapshots, writer
from vectordb.errors import Conflict, NotFound, SnapshotDamaged, Unavailable
from vectordb.schemas import DocumentCreate, HybridSearchRequest, LibraryCreate, LibraryUpdate, SearchRequest
from vectordb.storage import SnapshotFolder

QUERY = HybridSearchRequest(embedding=make_vector(1), text="number 3", k=100, include=["scores"])


def dump(database: Database) -> dict[str, object]:
    """Everything that clients can see of every library, but log positions: the slow twin of a snapshot."""
    return {library.row.id: dump_library(library) for library in database.list_libraries()}


def dump_library(library: Library) -> object:
    chunks = library.list_chunks(0, 10_000, None, with_embedding=True)
    return (
        library.row,
        library.list_documents(0, 10_000),
        [(chunk.id, chunk.document_id, chunk.text, chunk.metadata, chunk.embedding.tolist()) for chunk in chunks],
        [(chunk.number, chunk.created_at, chunk.updated_at) for chunk in chunks],
        [(hit.chunk.id, hit.score, hit.scores) for hit in library.search_hybrid(QUERY)] if library.row.id else None,
    )


def fill(library: Library, *numbers: int, text: str | None = None) -> None:
    library.upsert_chunks([make_chunk(number, text=text) for number in numbers]).result()


def add_library(database: Database, library_id: str, *numbers: int) -> Library:
    library = database.create_library(LibraryCreate(id=library_id, name=f"library {library_id}", dimension=4))
    library.create_document(DocumentCreate(id="doc", name="The document")).result()
    if numbers:
        fill(library, *numbers)
    return library


def position_of(database: Database, library_id: str) -> int:
    return database.get_library(library_id).read_stats().log_position


def test_the_whole_database_is_put_back_as_it_was(database, snapshots, library):
    fill(library, *range(20))
    add_library(database, "other", 1, 2, 3)
    before = dump(database)
    snapshot = snapshots.create()
    assert {(copy.id, copy.documents, copy.chunks) for copy in snapshot.libraries} == {("lib", 1, 20), ("other", 1, 3)}

    library.delete_document("doc").result()
    database.delete_library("other")
    add_library(database, "other", 7)
    add_library(database, "newcomer")
    done = snapshots.restore(snapshot.id, None)
    assert dump(database) == before
    assert done.deleted == ["newcomer"]
    fill(database.get_library("other"), 30)
    assert database.get_library("other").count(None) == 4


def test_libraries_that_are_named_are_put_back_alone(database, snapshots, library):
    fill(library, 1)
    add_library(database, "other", 1)
    snapshot = snapshots.create()
    fill(library, 2)
    fill(database.get_library("other"), 2)
    add_library(database, "newcomer", 1)
    after = dump(database)
    done = snapshots.restore(snapshot.id, ["other", "other"])
    assert (list(done.log_positions), done.deleted) == (["other"], [])
    assert database.get_library("other").count(None) == 1
    assert {name: content for name, content in dump(database).items() if name != "other"} == {
        name: content for name, content in after.items() if name != "other"
    }


def test_what_was_put_back_is_there_after_a_restart_too(database, snapshots, library, tmp_path):
    fill(library, *range(10))
    before = dump(database)
    snapshot = snapshots.create()
    library.delete_document("doc").result()
    snapshots.restore(snapshot.id, None)
    fill(database.get_library("lib"), 99)
    database.close()
    again = Database(tmp_path / "data")
    assert again.get_library("lib").count(None) == 11
    again.get_library("lib").delete_chunks(["chunk-99"], None).result()
    assert dump(again) == before
    assert len(list((tmp_path / "data" / "libraries").iterdir())) == 1
    assert not (tmp_path / "data" / "RESTORE").exists()
    again.close()


def test_log_positions_go_on_beyond_all_that_were_given(database, snapshots, library):
    fill(library, 1)
    snapshot = snapshots.create()
    for number in range(5):
        fill(library, number)
    reached = position_of(database, "lib")
    done = snapshots.restore(snapshot.id, None)
    assert done.log_positions["lib"] == position_of(database, "lib") > reached
    database.delete_library("lib")
    done = snapshots.restore(snapshot.id, None)
    assert done.log_positions["lib"] > snapshot.libraries[0].log_position
    database.get_library("lib").require_log_position(done.log_positions["lib"])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_history_before_and_after_a_snapshot_ends_in_what_the_snapshot_saw(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("history")
    database = Database(folder / "data")
    snapshots = Snapshots(database, SnapshotFolder(folder / "snapshots"))
    change = st.tuples(st.sampled_from(["upsert", "delete", "library", "rename", "drop"]), st.integers(0, 5))

    def apply(kind: str, number: int) -> None:
        library_id = f"l{number % 2}"
        try:
            if kind == "library":
                add_library(database, library_id)
            elif kind == "drop":
                database.delete_library(library_id)
            elif kind == "rename":
                database.update_library(library_id, LibraryUpdate(name=f"name {number}")).result()
            elif kind == "upsert":
                fill(database.get_library(library_id), number, number + 1, text=f"text {number}")
            else:
                database.get_library(library_id).delete_chunks([f"chunk-{number}"], None).result()
        except (NotFound, Conflict):
            return

    for kind, number in [("library", 0), *data.draw(st.lists(change, max_size=12))]:
        apply(kind, number)
    before = dump(database)
    snapshot = snapshots.create()
    for kind, number in data.draw(st.lists(change, max_size=12)):
        apply(kind, number)
    snapshots.restore(snapshot.id, None)
    assert dump(database) == before
    snapshots.close()
    database.close()


def test_a_snapshot_beside_a_writer_holds_whole_writes_up_to_one_of_them(database, snapshots, library):
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            fill(library, number, number + 1, number + 2)
            number += 3

    writing = threading.Thread(target=write)
    writing.start()
    kept = [snapshots.create() for _ in range(5)]
    stop.set()
    writing.join()
    for snapshot in kept:
        snapshots.restore(snapshot.id, None)
        stored = [chunk.id for chunk in database.get_library("lib").list_chunks(0, 10_000, None, with_embedding=False)]
        assert stored == [f"chunk-{number}" for number in range(len(stored))]
        (copy,) = snapshot.libraries
        assert (copy.chunks, copy.log_position) == (len(stored), 1 + len(stored) // 3)


def test_who_searches_while_libraries_are_put_back_finishes_on_the_old_ones(database, snapshots, library):
    fill(library, *range(10))
    snapshot = snapshots.create()
    fill(library, *range(10, 30))
    with library._readers.reader() as file:
        snapshots.restore(snapshot.id, None)
        assert file.chunks.count() == 30
        assert len(file.chunks.list_after(0, 100, None)) == 30
    assert database.get_library("lib").count(None) == 10
    with pytest.raises(Unavailable, match="has just been restored"):
        library.count(None)
    with pytest.raises(Unavailable, match="has just been restored"):
        fill(library, 1)


def test_readers_and_writers_beside_restores_are_answered_or_told_to_come_back(database, snapshots, library):
    """Every answer is of one state: a write adds a pair, and no read ever finds half of one, or no library."""
    fill(library, 0, 1)
    snapshot = snapshots.create()
    stop, wrong = threading.Event(), []

    def use(number: int) -> None:
        while not stop.is_set():
            try:
                current = database.get_library("lib")
                current.upsert_chunks([make_chunk(number), make_chunk(number + 1)]).result(10)
                assert current.count(None) % 2 == 0
                assert current.search(SearchRequest(embedding=make_vector(1), k=2))[0]
            except Unavailable:
                continue
            except Exception as exc:  # noqa: BLE001 - whatever it is, the test is about there being none
                wrong.append(exc)

    users = [threading.Thread(target=use, args=(number,)) for number in (2, 4, 6)]
    for user in users:
        user.start()
    for _ in range(4):
        snapshots.restore(snapshot.id, None)
    stop.set()
    for user in users:
        user.join()
    assert wrong == []


def test_a_deletion_beside_a_copy_does_not_wait_for_it_and_is_out_of_the_log_soon(library, monkeypatch):
    monkeypatch.setattr(writer, "_ERASE_AGAIN_S", 0.02)
    fill(library, 1, text="a secret of ours")
    log = library.folder / "library.sqlite3-wal"
    with library._writer.log_left_alone(), library._readers.reader() as file:
        file.connection.execute("BEGIN")
        assert file.chunks.count() == 1
        library.delete_chunk("chunk-1").result()
        assert log.stat().st_size > 0
        file.connection.execute("ROLLBACK")
    for _ in range(500):
        if log.stat().st_size == 0:
            break
        threading.Event().wait(0.01)
    assert log.stat().st_size == 0
    assert b"a secret of ours" not in (library.folder / "library.sqlite3").read_bytes()


def test_a_copy_holds_nothing_that_was_deleted_before_and_is_its_owners_alone(snapshots, library, tmp_path):
    fill(library, *range(50), text="a secret of ours")
    fill(library, 60, text="what stays")
    library.delete_chunks([f"chunk-{number}" for number in range(50)], None).result()
    snapshot = snapshots.create()
    folder = tmp_path / "snapshots" / snapshot.id
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["000001.sqlite3", "manifest.json"]
    assert b"what stays" in files[0].read_bytes()
    assert b"a secret of ours" not in files[0].read_bytes()
    assert [file.stat().st_mode & 0o777 for file in (folder, *files)] == [0o700, 0o600, 0o600]


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0xFF
    path.write_bytes(content)


DAMAGES = {
    "a flipped byte in the header": lambda folder: flip(folder / "000001.sqlite3", 0.0),
    "a flipped byte in the middle": lambda folder: flip(folder / "000002.sqlite3", 0.5),
    "a flipped byte at the end": lambda folder: flip(folder / "000002.sqlite3", 0.999),
    "a file cut off": lambda folder: os.truncate(folder / "000002.sqlite3", 4096),
    "an empty file": lambda folder: os.truncate(folder / "000001.sqlite3", 0),
    "a missing file": lambda folder: (folder / "000002.sqlite3").unlink(),
    "files exchanged": lambda folder: shutil.copy(folder / "000001.sqlite3", folder / "000002.sqlite3"),
    "a manifest cut off": lambda folder: os.truncate(folder / "manifest.json", 100),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a manifest that names a path": lambda folder: (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace("000001.sqlite3", "../../000001.sqlite3")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_check_24_a_damaged_snapshot_is_refused_and_nothing_changes(database, snapshots, library, tmp_path, damage):
    fill(library, *range(20))
    add_library(database, "other", 1, 2, 3)
    snapshot = snapshots.create()
    fill(library, 50)
    DAMAGES[damage](tmp_path / "snapshots" / snapshot.id)
    before = dump(database)
    for chosen in (None, ["lib", "other"]):
        with pytest.raises(SnapshotDamaged) as refusal:
            snapshots.restore(snapshot.id, chosen)
        assert refusal.value.status == 409
    assert dump(database) == before
    assert not (tmp_path / "data" / "RESTORE").exists()
    assert len(list((tmp_path / "data" / "libraries").iterdir())) == 2
    fill(library, 51)
    assert [one.id for one in snapshots.list()] == [snapshot.id]
    snapshots.delete(snapshot.id)
    assert snapshots.list() == []


def test_a_snapshot_whose_manifest_cannot_be_read_is_told_as_damaged(snapshots, library, tmp_path):
    whole, cut = snapshots.create(), snapshots.create()
    os.truncate(tmp_path / "snapshots" / cut.id / "manifest.json", 10)
    assert {one.id: one.state for one in snapshots.list()} == {whole.id: "ready", cut.id: "damaged"}
    assert snapshots.get(cut.id).libraries == ()


def test_a_snapshot_of_another_version_is_refused_by_its_number(snapshots, library, tmp_path):
    snapshot = snapshots.create()
    manifest = tmp_path / "snapshots" / snapshot.id / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(Conflict, match="version 99"):
        snapshots.restore(snapshot.id, None)


def test_a_name_that_another_library_bears_by_now_is_a_conflict_and_nothing_changes(database, snapshots, library):
    snapshot = snapshots.create()
    database.delete_library("lib")
    database.create_library(LibraryCreate(id="other", name="a library", dimension=2))
    with pytest.raises(Conflict, match='named "a library"'):
        snapshots.restore(snapshot.id, ["lib"])
    assert [one.row.id for one in database.list_libraries()] == ["other"]
    snapshots.restore(snapshot.id, None)
    assert [one.row.id for one in database.list_libraries()] == ["lib"]


def test_what_is_not_there_is_not_found(snapshots, library):
    snapshot = snapshots.create()
    for unknown in ("..", "", "0" * 36, "00000000-0000-0000-0000-000000000000"):
        for call in (snapshots.get, snapshots.delete, lambda id_: snapshots.restore(id_, None)):
            with pytest.raises(NotFound):
                call(unknown)
    with pytest.raises(NotFound, match='no library "x"'):
        snapshots.restore(snapshot.id, ["lib", "x"])


def test_one_snapshot_at_a_time(snapshots, library):
    snapshot = snapshots.create()
    with snapshots._alone():
        for call in (
            snapshots.create,
            lambda: snapshots.delete(snapshot.id),
            lambda: snapshots.restore(snapshot.id, None),
        ):
            with pytest.raises(Unavailable, match="another snapshot") as refusal:
                call()
            assert refusal.value.retry_after_s > 1
        assert snapshots.get(snapshot.id) == snapshot


def test_a_restore_waits_for_the_writes_that_are_queued_and_they_are_answered(database, snapshots, library):
    snapshot = snapshots.create()
    go_on = hold_writer(library)
    queued = [library.upsert_chunks([make_chunk(number)]) for number in range(20)]
    restoring = threading.Thread(target=snapshots.restore, args=(snapshot.id, None))
    restoring.start()
    while True:
        try:
            library.upsert_chunks([make_chunk(99)])
        except Unavailable:
            break
    assert restoring.is_alive()
    assert library.count(None) == 0  # reads go on
    go_on.set()
    restoring.join(30)
    assert max(future.result(10).log_position for future in queued) < position_of(database, "lib")
    assert database.get_library("lib").count(None) == 0


def test_a_library_that_takes_no_more_writes_is_copied_and_put_back_and_takes_them_again(
    database, snapshots, library, disk
):
    fill(library, 1)
    disk.fails_sync = True
    with pytest.raises(Unavailable):
        fill(library, 2)
    disk.fails_sync = False
    assert library.is_read_only
    snapshot = snapshots.create()
    snapshots.restore(snapshot.id, None)
    fill(database.get_library("lib"), 3)
    assert database.get_library("lib").count(None) == 2


def test_what_a_crash_left_of_making_and_deleting_snapshots_is_swept_at_start(tmp_path):
    SnapshotFolder(tmp_path / "snapshots").close()
    for name in (".new-00000000-0000-0000-0000-000000000000", ".trash-00000000-0000-0000-0000-000000000001"):
        folder = tmp_path / "snapshots" / name
        folder.mkdir()
        (folder / "000001.sqlite3").write_text("x")
    folder = SnapshotFolder(tmp_path / "snapshots")
    assert folder.list_ids() == []
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["LOCK"]
    folder.close()
