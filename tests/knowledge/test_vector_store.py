"""The door to the vector database, against the real one."""

from __future__ import annotations

import socket
from uuid import uuid4

import numpy as np
import pytest

from knowledge.errors import EmbedderChanged, LibraryMissing, VectorStoreRefused, VectorStoreUnavailable
from knowledge.vector_store import StoredChunk, VectordbStore
from tests.knowledge.fakes import DIMENSION, embed


@pytest.fixture
def library() -> str:
    return str(uuid4())


@pytest.fixture
def real(vectordb_server) -> VectordbStore:
    return VectordbStore(vectordb_server.url, api_key=vectordb_server.api_key)


def chunk(number: int, text: str = "some words", revision: int = 1) -> StoredChunk:
    return StoredChunk(f"d-{revision}-{number}", text, embed(text), revision, number, heading="A > B")


def fill(store: VectordbStore, library: str, count: int) -> None:
    store.ensure_library(library, name=library, dimension=DIMENSION)
    store.put_document(library, "d", name="D", metadata={"n": 1})
    assert store.put_chunks(library, "d", [chunk(number) for number in range(count)])


def search(store: VectordbStore, library: str, k: int = 10, filters=None):
    return store.hybrid_search(library, embedding=embed("some words"), text="some words", k=k, filters=filters)


def test_what_is_put_is_found_with_its_revision_and_heading(real, library):
    fill(real, library, 1)
    (hit,) = search(real, library)
    assert (hit.chunk_id, hit.document_id, hit.revision) == ("d-1-0", "d", 1)
    assert (hit.text, hit.heading) == ("some words", "A > B")
    assert hit.cosine == pytest.approx(1)


def test_every_write_may_be_repeated(real, library):
    for _ in range(2):
        fill(real, library, 3)
    assert real.chunk_ids(library, "d") == {"d-1-0", "d-1-1", "d-1-2"}
    for _ in range(2):
        real.delete_chunks(library, ["d-1-0", "d-1-9"])
        assert real.chunk_ids(library, "d") == {"d-1-1", "d-1-2"}
    for _ in range(2):
        real.delete_document(library, "d")
        assert real.chunk_ids(library, "d") == set()


def test_more_chunks_than_one_call_or_page_carries(real, library):
    fill(real, library, 2_100)
    assert len(real.chunk_ids(library, "d")) == 2_100
    assert len(search(real, library, k=5_000)) == 1_000


def test_putting_a_document_again_replaces_its_metadata(real, library):
    fill(real, library, 1)
    real.put_document(library, "d", name="D", metadata={"n": 2})
    assert search(real, library, filters={"n": 1}) == []
    assert len(search(real, library, filters={"n": 2})) == 1
    real.put_document(library, "d", name="D", metadata={})
    assert search(real, library, filters={"n": 2}) == []


def test_chunks_of_a_document_that_is_gone_are_not_stored(real, library):
    fill(real, library, 1)
    real.delete_document(library, "d")
    assert real.put_chunks(library, "d", [chunk(0)]) is False
    assert search(real, library) == []


def test_a_library_that_is_not_there_holds_nothing_and_says_so_to_a_search(real, library):
    with pytest.raises(LibraryMissing):
        search(real, library)
    assert real.chunk_ids(library, "d") == set()
    real.delete_chunks(library, ["a"])
    real.delete_document(library, "d")


def test_a_library_of_another_dimension_is_another_embedders(real, library):
    real.ensure_library(library, name=library, dimension=DIMENSION)
    with pytest.raises(EmbedderChanged):
        real.ensure_library(library, name=library, dimension=DIMENSION + 1)


def test_what_is_refused_is_a_fault_of_ours_told_without_the_text(real, library):
    fill(real, library, 1)
    wrong = StoredChunk("d-1-1", "secret", np.ones(DIMENSION + 1, dtype=np.float32), 1, 1)
    with pytest.raises(VectorStoreRefused) as refusal:
        real.put_chunks(library, "d", [wrong])
    assert "secret" not in str(refusal.value)


def test_a_database_that_is_down_is_unavailable_and_not_ready(library):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    down = VectordbStore(f"http://127.0.0.1:{port}", timeout_s=1)
    assert not down.is_ready()
    with pytest.raises(VectorStoreUnavailable) as fault:
        search(down, library)
    assert fault.value.retry_after_s >= 1


def test_a_database_that_hangs_is_unavailable_in_bounded_time(library):
    with socket.create_server(("127.0.0.1", 0)) as server:
        hanging = VectordbStore(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.2)
        assert not hanging.is_ready()
        with pytest.raises(VectorStoreUnavailable):
            search(hanging, library)


def test_a_key_that_is_not_accepted_is_unavailable_and_not_ready(vectordb_server, library):
    stranger = VectordbStore(vectordb_server.url, api_key="wrong")
    assert not stranger.is_ready()
    with pytest.raises(VectorStoreUnavailable):
        search(stranger, library)


def test_a_database_that_answers_is_ready(real):
    assert real.is_ready()
