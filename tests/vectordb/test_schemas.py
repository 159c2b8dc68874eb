import base64
import json

import numpy as np
import pytest
from pydantic import ValidationError

from vectordb.schemas import (
    And,
    ChunkInput,
    ChunksDelete,
    ChunksUpsert,
    Equals,
    IndexSpec,
    LibraryCreate,
    SearchRequest,
)


def read_search(**body) -> SearchRequest:
    return SearchRequest.model_validate_json(json.dumps({"embedding": [1, 2], **body}))


def refusal_of(model, content) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(content if isinstance(content, str) else json.dumps(content))
    return str(caught.value)


@pytest.mark.parametrize(
    "embedding",
    [
        [0.5, -1, 2],
        base64.b64encode(np.array([0.5, -1, 2], dtype="<f4").tobytes()).decode(),
    ],
)
def test_an_embedding_is_a_list_or_base64(embedding):
    request = SearchRequest.model_validate_json(json.dumps({"embedding": embedding}))
    assert request.embedding.dtype == np.float32
    assert request.embedding.tolist() == [0.5, -1, 2]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, ">f4"])
def test_an_embedding_may_be_a_numpy_array(dtype):
    chunk = ChunkInput(document_id="d", text="", embedding=np.array([1, 2], dtype=dtype))
    assert chunk.embedding.dtype == np.float32
    assert ChunkInput.model_validate_json(chunk.model_dump_json()).embedding.tolist() == [1, 2]


@pytest.mark.parametrize(
    "embedding",
    [
        *("[]", '""', "[NaN]", "[Infinity]", "[1e17]", "[1e999]", f"[{10**400}]", '["1"]', "[true]", "[null]"),
        *("[[1]]", "1", '"!"', '"AAA="', '"AACAfw=="', "null", "{}"),
    ],
)
def test_anything_else_is_no_embedding(embedding):
    refusal_of(SearchRequest, f'{{"embedding": {embedding}}}')


@pytest.mark.parametrize(
    "body",
    [
        {"k": 0},
        {"k": 1001},
        {"k": "3"},
        {"k": 2.5},
        {"k": True},
        {"surprise": 1},
        {"embeddings": [[1, 2]]},
        {"include": ["scores"]},
        {"group_by": "text"},
        {"exact": 1},
    ],
)
def test_a_search_with_something_wrong_is_refused_by_its_name(body):
    assert next(iter(body)) in refusal_of(SearchRequest, {"embedding": [1], **body})


@pytest.mark.parametrize("id", ["", "a b", "ä", "a" * 129, "a/b", "a\n", 5])
def test_an_id_outside_the_alphabet_is_refused(id):
    assert "id" in refusal_of(LibraryCreate, {"id": id, "name": "n", "dimension": 2})


@pytest.mark.parametrize("id", ["a", "A-z_0.9", "..", "a" * 128])
def test_an_id_of_the_alphabet_is_taken(id):
    assert LibraryCreate(id=id, name="n", dimension=2).id == id


@pytest.mark.parametrize("metadata", ['{"a": NaN}', '{"a": [1, -Infinity]}', f'{{"a": {2**63}}}', "[]"])
def test_metadata_that_json_cannot_carry_is_refused(metadata):
    refusal_of(LibraryCreate, f'{{"name": "n", "dimension": 2, "metadata": {metadata}}}')


def test_metadata_nested_without_end_is_refused():
    metadata = "{}"
    for _ in range(50):
        metadata = f'{{"a": {metadata}}}'
    refusal_of(LibraryCreate, f'{{"name": "n", "dimension": 2, "metadata": {metadata}}}')


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_index_type_that_is_not_served_is_named(kind):
    assert f'index type "{kind}" is not served yet' in refusal_of(IndexSpec, {"type": kind, "m": 16})


def test_a_parameter_that_flat_does_not_have_is_refused():
    assert "ef" in refusal_of(IndexSpec, {"type": "flat", "ef": 1})


def test_fields_of_a_filter_are_joined_by_and():
    condition = read_search(filter={"text": "a", "$and": [{"metadata.n": {"$eq": 1}}, {"document_id": "d"}]}).filter
    assert condition == And((Equals("text", "a"), Equals("metadata.n", 1), Equals("document_id", "d")))


def test_an_empty_filter_is_none():
    assert read_search(filter={}).filter is None


def test_times_of_a_filter_are_moments():
    one = read_search(filter={"created_at": "2026-01-02T03:04:05+01:00"}).filter
    other = read_search(filter={"created_at": "2026-01-02T02:04:05Z"}).filter
    assert one == other


@pytest.mark.parametrize(
    ("filter", "named"),
    [
        ({"metadata.a": {operator: 1}}, operator)
        for operator in ["$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains", "$startswith"]
    ]
    + [
        ({"$or": [{"text": "a"}]}, "$or"),
        ({"$not": {"text": "a"}}, "$not"),
        ({"$nor": []}, "$nor"),
        ({"text": {"$eq": "a", "$gt": "b"}}, "$gt"),
        ({"nonsense": 1}, "nonsense"),
        ({"metadata.": 1}, "metadata."),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"$and": []}, "$and"),
        ({"$and": [{}]}, "$and"),
        ({"text": {}}, "operator"),
        ({"metadata.a": [1]}, "metadata.a"),
        ({"document_id": 5}, "document_id"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"metadata.a": 2**70}, "metadata.a"),
        ([], "object"),
    ],
)
def test_what_a_filter_cannot_say_is_refused_by_its_name(filter, named):
    assert named in refusal_of(SearchRequest, {"embedding": [1], "filter": filter})


def test_an_id_that_stands_twice_in_one_upsert_is_refused():
    chunk = {"id": "a", "document_id": "d", "text": "", "embedding": [1]}
    assert "twice" in refusal_of(ChunksUpsert, {"chunks": [chunk, chunk]})


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"filter": {}}, {"ids": ["a"], "filter": {"text": "a"}}])
def test_a_deletion_never_means_all(body):
    refusal_of(ChunksDelete, body)
