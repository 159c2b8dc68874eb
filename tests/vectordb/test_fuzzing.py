"""Check 23, of vectordb: schemathesis asks a running server what nobody thought of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.contract.fuzzing.campaign import Outcome, Target, ask_in_chains, ask_one_by_one
from tests.vectordb.conftest import ServerProcess, make_chunk
from vectordb.server.exchange import encode_cursor

KEY = "a key that the tests know"
LAST = "DELETE /v1/libraries/{library_id}"
LIBRARIES = [f"library-{number}" for number in range(6)]
DOCUMENTS = [f"document-{number}" for number in range(12)]
CHUNKS = [f"chunk-{number}" for number in range(40)]
# Valid by the description, and refused wherever they stand.
UNSPEAKABLE = tuple(
    ("*", code)
    for code in (
        "int_type",  # 1.0 is a whole number to JSON Schema
        "name_blank",
        "name_nul",
        "twice",
        "dimension",
        "embedding_shape",
        "embedding_base64",
        "embedding_not_finite",
        "zero_vector",
        "metadata_number",
        "metadata_size",
        "id_twice",
        "too_many_results",
        "filter_field",
        "filter_operator",
        "filter_value",
        "filter_and",
        "filter_size",
        "filter_type",
        "ids_or_filter",  # a filter without a condition
        "json_invalid",
        "invalid",  # of cursors, `filter` and `include` in the query
        "unknown_parameter",
        "finite_number",
    )
)


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server(api_key=KEY)


def make_target(server: ServerProcess, folder: Path) -> Target:
    """The server, with libraries that hold something."""
    client = server.clients[0]
    for library in LIBRARIES:
        client.create_library(id=library, name=library, dimension=1, metric="l2")  # what most random vectors fit
        for document in DOCUMENTS:
            client.create_document(library, id=document, name=document, metadata={"language": "en"})
        chunks = [make_chunk(number, dimension=1, document_id=DOCUMENTS[0]) for number in range(len(CHUNKS))]
        client.upsert_chunks(library, chunks)
    headers = {"X-API-KEY": KEY}
    snapshots = [httpx.post(f"{server.url}/v1/snapshots", headers=headers).json()["id"] for _ in range(3)]
    description = folder / "openapi.json"
    description.write_text(json.dumps(httpx.get(f"{server.url}/openapi.json", headers=headers).json()))
    return Target(
        schema=str(description),
        base_url=server.url,
        key=KEY,
        ids={
            "path.library_id": LIBRARIES,
            "path.document_id": DOCUMENTS,
            "body.chunks[*].document_id": DOCUMENTS,
            "path.chunk_id": CHUNKS,
            "path.snapshot_id": snapshots,
            "path.name": ["manifest.json", "000001.sqlite3"],
        },
        cursors=[encode_cursor(str(number)) for number in range(20)],
        unspeakable=UNSPEAKABLE,
        ambiguous=["POST /v1/libraries/{library_id}/chunks/delete"],
        naming_others=["POST /v1/snapshots/{snapshot_id}/restore"],
        unavailable_is_expected=True,  # of a log position that is still to come
    )


def keep_to_one_library(target: Target) -> Target:
    """Ask for what it holds, and do not delete it."""
    ids = {name: ids for name, ids in target.ids.items() if name != "path.library_id"}
    return replace(target, ids=ids, fixed={"path.library_id": LIBRARIES[0]}, left_out=[LAST])


def check(outcome: Outcome, *, calls: int) -> None:
    if not outcome.is_clean or set(outcome.statuses) & {500, 501, 502, 504}:
        pytest.fail(outcome.report, pytrace=False)
    assert sum(outcome.statuses.values()) > calls, outcome.report


@pytest.mark.ci
def test_check_23_vectordb_answers_calls_one_by_one_as_it_is_described(server: ServerProcess, tmp_path: Path):
    target = keep_to_one_library(make_target(server, tmp_path))
    outcome = ask_one_by_one(target, tmp_path, examples=40)
    check(outcome, calls=1_000)
    described = json.loads(Path(target.schema).read_text())["paths"]
    calls = {f"{method.upper()} {path}" for path, of_path in described.items() for method in of_path}
    reached = {call for call in calls if any(status < 300 for status in outcome.statuses_of(call))}
    assert calls - reached <= {LAST, "PUT /v1/snapshots/{snapshot_id}"}  # which wants the hashes of files


@pytest.mark.ci
def test_check_23_vectordb_answers_chains_of_calls_as_it_is_described(server: ServerProcess, tmp_path: Path):
    check(ask_in_chains(make_target(server, tmp_path), tmp_path, seconds=60), calls=100)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_check_23_thousands_of_examples_find_no_more_in_vectordb(server: ServerProcess, tmp_path: Path, seed: int):
    target = make_target(server, tmp_path)
    check(ask_one_by_one(keep_to_one_library(target), tmp_path, examples=1_000, seed=seed), calls=10_000)
    check(ask_in_chains(target, tmp_path, seconds=600, seed=seed), calls=1_000)
