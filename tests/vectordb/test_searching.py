"""What a library finds: filters, hybrid ranking, groups, thresholds."""

import numpy as np
import pytest

from tests.vectordb.conftest import ids_of, make_chunk, make_vector
from vectordb.engine.clock import tell_time
from vectordb.schemas import (
    DocumentCreate,
    DocumentUpdate,
    HybridSearchRequest,
    SearchRequest,
)
from vectordb.schemas.filters import parse_filter


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
