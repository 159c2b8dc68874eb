"""A data folder: the libraries in it, closing it and opening it again, and what is refused there."""

import apsw
import pytest

from tests.vectordb.conftest import make_chunk, make_vector
from vectordb.engine import Database
from vectordb.errors import Conflict, DataFolderRefused, NotFound
from vectordb.schemas import (
    DocumentCreate,
    HybridSearchRequest,
    LibraryCreate,
    LibraryUpdate,
)


def test_names_and_ids_of_libraries_are_unique_until_they_are_free_again(database):
    database.create_library(LibraryCreate(id="a", name="one", dimension=2))
    for taken in (LibraryCreate(id="a", name="two", dimension=2), LibraryCreate(id="b", name="one", dimension=2)):
        with pytest.raises(Conflict):
            database.create_library(taken)
    database.create_library(LibraryCreate(id="b", name="two", dimension=2))
    with pytest.raises(Conflict):
        database.update_library("b", LibraryUpdate(name="one"))
    with pytest.raises(Conflict):
        database.update_library("b", LibraryUpdate(dimension=3))
    database.delete_library("a")
    with pytest.raises(NotFound):
        database.delete_library("a")
    assert database.update_library("b", LibraryUpdate(name="one", dimension=2)).result().value.name == "one"
    assert database.get_library("b").row.name == "one"


def test_everything_is_there_after_closing_and_opening(tmp_path):
    first = Database(tmp_path / "data")
    library = first.create_library(LibraryCreate(id="..", name="n", dimension=4, metric="l2", metadata={"a": [1]}))
    library.create_document(DocumentCreate(id="doc", name="d")).result()
    position = library.upsert_chunks([make_chunk(n) for n in range(20)]).result().log_position
    request = HybridSearchRequest(embedding=make_vector(3), text="number 7", k=20, include=["scores"])
    before = library.search_hybrid(request)
    first.close()
    assert not any(path.name.endswith("-wal") for path in (tmp_path / "data").rglob("*"))
    second = Database(tmp_path / "data")
    again = second.get_library("..")
    assert again.row == library.row
    assert again.read_stats().log_position == position
    assert again.search_hybrid(request) == before
    second.close()


def test_what_a_crash_left_of_making_and_deleting_libraries_is_swept_at_start(tmp_path):
    Database(tmp_path / "data").close()
    for name in (".new-1", ".trash-2"):
        folder = tmp_path / "data" / "libraries" / name
        folder.mkdir()
        (folder / "library.sqlite3").write_text("x")
    database = Database(tmp_path / "data")
    assert list((tmp_path / "data" / "libraries").iterdir()) == []
    assert database.list_libraries() == []
    database.close()


def test_a_folder_in_use_is_refused(tmp_path):
    database = Database(tmp_path / "data")
    with pytest.raises(DataFolderRefused, match="in use"):
        Database(tmp_path / "data")
    database.close()
    Database(tmp_path / "data").close()


@pytest.mark.parametrize("damage", ["nonsense", "missing", "version"])
def test_a_library_that_cannot_be_read_is_refused_rather_than_forgotten(tmp_path, damage):
    database = Database(tmp_path / "data")
    folder = database.create_library(LibraryCreate(name="n", dimension=2)).folder
    database.close()
    file = folder / "library.sqlite3"
    if damage == "nonsense":
        file.write_bytes(b"no database at all" * 1_000)
    elif damage == "missing":
        file.unlink()
    else:
        with apsw.Connection(str(file)) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    with pytest.raises(DataFolderRefused, match=folder.name):
        Database(tmp_path / "data")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM library", "does not say which library"),
        ("UPDATE chunks SET embedding = x'00' WHERE number = 2", "chunk number 2 has 1 bytes"),
        ("UPDATE chunks SET embedding = zeroblob(8) WHERE number = 2", "chunk number 2 has 8 bytes"),
        ("UPDATE chunks SET embedding = zeroblob(32)", "chunk number 1 has 32 bytes"),
        ("UPDATE chunks SET embedding = zeroblob(16)", "zero vector"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_its_folder(database, library, tmp_path, sql, words):
    library.upsert_chunks([make_chunk(1), make_chunk(2)]).result()
    database.close()
    with apsw.Connection(str(library.folder / "library.sqlite3")) as connection:
        connection.execute(sql)
    connection.close()
    with pytest.raises(DataFolderRefused, match=words) as refusal:
        Database(tmp_path / "data")
    assert str(library.folder) in refusal.value.detail


@pytest.mark.parametrize("stray", ["notes.txt", "folder"])
def test_what_is_no_library_among_the_libraries_is_refused_by_name(tmp_path, stray):
    Database(tmp_path / "data").close()
    path = tmp_path / "data" / "libraries" / stray
    path.write_text("x") if "." in stray else path.mkdir()
    with pytest.raises(DataFolderRefused, match=stray):
        Database(tmp_path / "data")


def test_hidden_files_and_lost_and_found_among_the_libraries_are_passed_over(database, library, tmp_path):
    database.close()
    (library.folder.parent / ".DS_Store").write_text("x")
    (library.folder.parent / "lost+found").mkdir()
    again = Database(tmp_path / "data")
    assert [found.row.id for found in again.list_libraries()] == ["lib"]
    again.close()
