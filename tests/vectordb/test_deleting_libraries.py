"""A library is deleted while others use it."""

import shutil
import threading
from pathlib import Path

import pytest

from tests.vectordb.conftest import hold_writer, make_chunk, make_vector
from vectordb.engine import Database, Library
from vectordb.errors import DataFolderRefused, NotFound, StorageFailed, Unavailable
from vectordb.schemas import DocumentCreate, HybridSearchRequest, LibraryCreate, SearchRequest


@pytest.fixture
def library(library: Library) -> Library:
    library.upsert_chunks([make_chunk(1)]).result()
    return library


def test_every_call_on_a_deleted_library_that_was_taken_before_says_not_found(database, library):
    database.delete_library("lib")
    vector = make_vector(1)
    for call in (
        lambda: database.get_library("lib"),
        library.read_stats,
        lambda: library.count(None),
        lambda: library.get_chunk("chunk-1", with_embedding=True),
        lambda: library.list_documents(0, 10),
        lambda: library.require_log_position(1),
        lambda: library.search(SearchRequest(embedding=vector)),
        lambda: library.search_hybrid(HybridSearchRequest(embedding=vector, text="text")),
        lambda: library.upsert_chunks([make_chunk(2)]),
        lambda: library.delete_document("doc"),
    ):
        with pytest.raises(NotFound, match='no library "lib"'):
            call()


def test_storage_that_fails_under_a_reader_because_the_library_goes_is_not_found(library):
    """The folder goes while the reader works: whatever SQLite makes of that, the library is not there."""

    def read() -> None:
        with library._readers.reader():
            library.retire()
            raise StorageFailed("the file was taken away")

    with pytest.raises(NotFound):
        read()


def test_a_page_of_libraries_leaves_out_one_that_is_being_deleted(database, library):
    for number in range(3):
        database.create_library(LibraryCreate(id=f"other{number}", name=f"other {number}", dimension=2))
    library.retire()  # still in the list, as between looking there and reading
    assert [row.id for row, _ in database.read_libraries("", 2)] == ["other0", "other1"]
    assert [row.id for row, _ in database.read_libraries("other1", 2)] == ["other2"]
    library.readmit()
    assert [row.id for row, _ in database.read_libraries("", 2)] == ["lib", "other0"]


def test_readers_and_writers_beside_deletions_meet_nothing_but_not_found(database):
    stop, wrong = threading.Event(), []

    def use() -> None:
        while not stop.is_set():
            try:
                database.read_libraries("", 10)
                library = database.get_library("race")
                library.read_stats()
                library.search(SearchRequest(embedding=make_vector(1), filter={"text": "x"}))
                library.upsert_chunks([make_chunk(1, document_id="d")]).result(10)
            except NotFound:
                stop.wait(0.001)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the test is about there being none
                wrong.append(exc)

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    for number in range(10):
        library = database.create_library(LibraryCreate(id="race", name=f"race {number}", dimension=4))
        library.create_document(DocumentCreate(id="d", name="d")).result()
        database.delete_library("race")
    stop.set()
    for user in users:
        user.join()
    assert wrong == []


def test_other_libraries_are_made_and_deleted_while_one_waits_for_its_writer(database, library):
    go_on = hold_writer(library)
    queued = [library.upsert_chunks([make_chunk(number)]) for number in range(2, 60)]
    deleting = threading.Thread(target=database.delete_library, args=("lib",))
    deleting.start()
    while any(found is library for found in database.list_libraries()):
        pass
    database.create_library(LibraryCreate(id="other", name="other", dimension=2))
    database.create_library(LibraryCreate(id="lib", name="a library", dimension=2))
    database.delete_library("other")
    assert deleting.is_alive()
    go_on.set()
    deleting.join(10)
    for future in queued:
        with pytest.raises(NotFound):
            future.result(10)
    assert database.get_library("lib").row.dimension == 2


def test_closing_waits_for_a_deletion_that_is_under_way(tmp_path, disk):
    database = Database(tmp_path / "closing", vfs=disk.name)
    library = database.create_library(LibraryCreate(id="lib", name="n", dimension=4))
    go_on = hold_writer(library)
    deleting = threading.Thread(target=database.delete_library, args=("lib",))
    deleting.start()
    while database.list_libraries():
        pass
    closing = threading.Thread(target=database.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    go_on.set()
    closing.join(10)
    deleting.join(10)
    assert list((tmp_path / "closing" / "libraries").iterdir()) == []


@pytest.mark.parametrize("fault", ["is_full", "fails_sync"])
def test_a_library_is_deleted_from_a_disk_that_fails_and_gives_its_files_back(database, library, disk, fault):
    """Its log is left unread: a checkpoint would need the room, or the sync, that there is not."""
    library.upsert_chunks([make_chunk(number, text="words " * 400) for number in range(100)]).result()
    setattr(disk, fault, True)
    with pytest.raises(Unavailable):
        library.upsert_chunks([make_chunk(2)]).result()
    folder = library.folder
    assert open_files_below(folder)
    database.delete_library("lib")
    assert not folder.exists()
    assert open_files_below(folder) == []


def test_closing_on_a_full_disk_gives_the_files_back(database, library, disk):
    disk.is_full = True
    library.close()
    assert open_files_below(library.folder) == []


def open_files_below(folder: Path) -> list[str]:
    """The files that this process has open in `folder`, whatever it is called by now."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            targets.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return [target for target in targets if folder.name in target]


def test_a_library_whose_folder_cannot_be_taken_away_stays(database, library, tmp_path):
    in_the_way = library.folder.with_name(f".trash-{library.folder.name}")
    in_the_way.write_text("no folder")
    with pytest.raises(StorageFailed):
        database.delete_library("lib")
    assert database.get_library("lib") is library
    library.upsert_chunks([make_chunk(2)]).result()
    assert library.count(None) == 2
    in_the_way.unlink()
    database.delete_library("lib")
    assert list((tmp_path / "data" / "libraries").iterdir()) == []


def test_two_folders_with_one_library_are_refused_and_both_named(database, library, tmp_path):
    folder = library.folder
    database.close()
    shutil.copytree(folder, folder.with_name("copy"))
    with pytest.raises(DataFolderRefused) as refusal:
        Database(tmp_path / "data")
    assert str(folder) in refusal.value.detail
    assert str(folder.with_name("copy")) in refusal.value.detail
    assert open_files_below(tmp_path) == []
