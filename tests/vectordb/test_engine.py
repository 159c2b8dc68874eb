import threading
from pathlib import Path

import apsw
import numpy as np
import pytest

from tests.vectordb.conftest import make_chunk, make_vector
from vectordb.engine import Database
from vectordb.errors import Conflict, DataFolderRefused, Invalid, NotFound, ReadOnly, StorageFull, Unavailable
from vectordb.schemas import (
    ChunkUpdate,
    DocumentCreate,
    DocumentUpdate,
    HybridSearchRequest,
    LibraryCreate,
    LibraryUpdate,
    SearchRequest,
)
from vectordb.schemas.filters import parse_filter


def ids_of(hits) -> list[str]:
    return [hit.chunk.id for hit in hits]


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
    held, go_on = threading.Event(), threading.Event()

    def hold(session):
        held.set()
        go_on.wait(10)

    library._writer.submit(hold)
    held.wait(10)
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


def _on_disk(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"metadata.n": 1}, {1}),
        ({"metadata.n": 1.0}, {1}),
        ({"metadata.n": "1"}, set()),
        ({"metadata.flag": True}, {0, 2, 4}),
        ({"metadata.flag": 1}, set()),
        ({"metadata.nothing": None}, {0, 1, 2, 3, 4}),
        ({"metadata.absent": None}, set()),
        ({'metadata.a "quoted".name': "x"}, {0, 1, 2, 3, 4}),
        ({"document.metadata.language": "en"}, {0, 1, 2}),
        ({"document.name": "Second"}, {3, 4}),
        ({"document_id": "doc", "metadata.flag": True}, {0, 2}),
        ({"$and": [{"text": "text number 3"}]}, {3}),
        ({"metadata.tags": "x"}, set()),
    ],
)
def test_filters_hold_for_search_hybrid_count_scroll_and_nothing_else(library, filter, expected):
    library.update_document("doc", DocumentUpdate(metadata={"language": "en"})).result()
    library.create_document(DocumentCreate(id="doc2", name="Second")).result()
    library.upsert_chunks(
        [
            make_chunk(
                number,
                document_id="doc" if number < 3 else "doc2",
                metadata={
                    "n": number,
                    "flag": number % 2 == 0,
                    "nothing": None,
                    'a "quoted".name': "x",
                    "tags": ["x"],
                },
            )
            for number in range(5)
        ]
    ).result()
    names = {f"chunk-{number}" for number in expected}
    condition = parse_filter(filter)
    [hits] = library.search(SearchRequest(embedding=make_vector(1), filter=filter))
    assert set(ids_of(hits)) == names
    found = library.search_hybrid(HybridSearchRequest(embedding=make_vector(1), text="text number", filter=filter))
    assert set(ids_of(found)) == names
    assert library.count(condition) == len(names)
    assert {row.id for row in library.list_chunks(0, 100, condition, with_embedding=False)} == names


def test_created_at_compares_as_a_time(library):
    library.upsert_chunks([make_chunk(1)]).result()
    from vectordb.engine.clock import tell_time

    row = library.get_chunk("chunk-1", with_embedding=False)
    assert library.count(parse_filter({"created_at": tell_time(row.created_at)})) == 1


def test_hybrid_search_is_the_reciprocal_rank_of_both_rankings(library):
    texts = ["alpha beta", "alpha", "gamma", "delta"]
    library.upsert_chunks([make_chunk(number, text=text) for number, text in enumerate(texts)]).result()
    query = make_vector(2)  # nearest: chunk-2, whose words do not match
    by_vector = ids_of(library.search(SearchRequest(embedding=query))[0])
    by_words = ["chunk-0", "chunk-1"]  # "beta" is the rarer word
    worth = {
        name: sum(1 / (61 + ranking.index(name)) for ranking in (by_vector, by_words) if name in ranking)
        for name in by_vector
    }
    hits = library.search_hybrid(HybridSearchRequest(embedding=query, text="alpha beta", include=["scores"]))
    assert [(hit.chunk.id, hit.score) for hit in hits] == [
        (name, pytest.approx(score)) for name, score in sorted(worth.items(), key=lambda item: -item[1])
    ]
    for hit in hits:
        assert hit.scores.vector is not None
        assert (hit.scores.text is not None) == (hit.chunk.id in by_words)


def test_scores_of_a_hit_found_by_words_alone_hold_its_cosine(library):
    library.upsert_chunks([make_chunk(n, embedding=np.array([1, n / 1000, 0, 0])) for n in range(300)]).result()
    library.upsert_chunks([make_chunk(999, text="unique", embedding=np.array([-1, 0, 0, 0]))]).result()
    request = HybridSearchRequest(embedding=np.array([1, 0, 0, 0]), text="unique", k=3, include=["scores"])
    by_id = {hit.chunk.id: hit for hit in library.search_hybrid(request)}
    assert by_id["chunk-999"].scores.vector == pytest.approx(-1.0)


@pytest.mark.parametrize("hybrid", [False, True])
def test_grouping_gives_the_best_chunk_of_each_of_k_documents(library, hybrid):
    """The nearest 200 chunks are of one document, so that the search has to look deeper than k."""
    for number in range(4):
        library.create_document(DocumentCreate(id=f"d{number}", name="x")).result()
    chunks = [make_chunk(n, document_id="d0", embedding=np.array([1, n / 10_000, 0, 0])) for n in range(800)]
    far = [make_chunk(1_000 + n, document_id=f"d{n}", embedding=np.array([1, n, 0, 0])) for n in range(1, 4)]
    library.upsert_chunks([*chunks, *far]).result()
    query = np.array([1, 0, 0, 0])
    if hybrid:
        request = HybridSearchRequest(embedding=query, text="nothing", k=3, group_by="document_id")
        hits = library.search_hybrid(request)
    else:
        [hits] = library.search(SearchRequest(embedding=query, k=3, group_by="document_id"))
    assert [(hit.chunk.document_id, hit.chunk.id) for hit in hits] == [
        ("d0", "chunk-0"),
        ("d1", "chunk-1001"),
        ("d2", "chunk-1002"),
    ]


def test_a_threshold_drops_what_scores_less(library):
    library.upsert_chunks([make_chunk(n, embedding=np.array([1, n, 0, 0])) for n in range(5)]).result()
    request = SearchRequest(embedding=np.array([1, 0, 0, 0]), score_threshold=0.5)
    assert ids_of(library.search(request)[0]) == ["chunk-0", "chunk-1"]


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
    assert database.update_library("b", LibraryUpdate(name="one", dimension=2)).value.name == "one"
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


def test_writes_to_a_closed_library_are_refused(database, library):
    library.close()
    with pytest.raises(Unavailable):
        library.upsert_chunks([make_chunk(1)])
