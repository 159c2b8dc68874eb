"""What a real server tells Prometheus."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.observability.figures import Figures, scrape
from tests.vectordb.conftest import ServerProcess, hold_writer, make_chunk, make_vector
from vectordb.engine import Database
from vectordb.schemas import ChunkInput, DocumentCreate, LibraryCreate
from vectordb.server.metrics import Libraries

StartServer = Callable[..., ServerProcess]
KEY, TOKEN = "a-key", "a-token"


def test_requests_searches_and_writes_are_counted_and_no_library_is_named(
    start_server: StartServer,
):
    server = start_server(api_key=KEY, VECTORDB_METRICS_TOKEN=TOKEN)
    client = server.clients[0]
    library = client.create_library(name="of-a-customer", id="customer-1", dimension=4)
    client.create_document(library.id, name="d", id="doc")
    client.upsert_chunks(library.id, [make_chunk(number) for number in range(10)])
    for _ in range(3):
        client.search(library.id, embedding=make_vector(1), k=2)
    client.hybrid_search(library.id, embedding=make_vector(1), text="text", k=2, filter={"document_id": "doc"})
    with httpx.Client(base_url=server.url, timeout=10) as asker:
        assert asker.get("/v1/no/such/path", headers={"X-API-KEY": KEY}).status_code == 404
        assert asker.get("/v1/libraries").status_code == 401
        figures = scrape(asker, Authorization=f"Bearer {TOKEN}")
        assert scrape(asker, Authorization=f"Bearer {KEY}").total("vectordb_chunks") == 10
        assert scrape(asker, **{"X-API-KEY": KEY}).total("vectordb_chunks") == 10
        assert asker.get("/metrics").status_code == 401
        assert asker.get("/metrics", headers={"X-API-KEY": TOKEN}).status_code == 401
        assert asker.get("/v1/libraries", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 401
    assert_told(figures)


def assert_told(figures: Figures) -> None:
    search = "/v1/libraries/{library_id}/search"
    assert figures.total("vectordb_http_requests_total", route=search, method="POST", status="2xx") == 3
    assert figures.total("vectordb_http_request_seconds_count", route=search) == 3
    assert figures.total("vectordb_http_requests_total", route="none", status="4xx") == 2
    assert figures.total("vectordb_http_requests_in_flight") == 1
    steps = {step: figures.total("vectordb_search_step_seconds_count", step=step) for step in ("filter", "words")}
    assert steps == {"filter": 1, "words": 1}
    assert figures.total("vectordb_search_step_seconds_count", step="vectors") == 4
    assert figures.total("vectordb_search_step_seconds_count", step="payload") == 4
    assert figures.total("vectordb_commit_seconds_count") >= 2
    assert figures.total("vectordb_libraries") == 1
    assert figures.total("vectordb_libraries_read_only") == figures.total("vectordb_writes_waiting") == 0
    assert figures.total("vectordb_chunks") == 10
    assert figures.total("vectordb_disk_bytes") > 1_000
    assert figures.total("vectordb_index_memory_bytes") > 100
    assert figures.total("vectordb_indexes", type="flat", state="ready") == 1
    assert figures.total("process_resident_memory_bytes") > 1_000_000
    assert not [borne for each in figures.samples.values() for borne in each if "customer" in str(borne)]
    assert all(re.match("vectordb_|process_", name) for name in figures.samples)


def test_writes_that_wait_are_told(database: Database):
    library = database.create_library(LibraryCreate(id="lib", name="a library", dimension=4))
    library.create_document(DocumentCreate(id="doc", name="The document")).result()
    go_on = hold_writer(library)
    waiting = [library.upsert_chunks([ChunkInput(**make_chunk(n).model_dump())]) for n in range(3)]
    told = {metric.name: metric.samples[0].value for metric in Libraries(database).collect()}
    go_on.set()
    for each in waiting:
        each.result()
    assert told["vectordb_writes_waiting"] == 3
    assert told["vectordb_writes_waiting_bytes"] > 3 * 16
    after = {metric.name: metric.samples[0].value for metric in Libraries(database).collect()}
    assert after["vectordb_writes_waiting"] == after["vectordb_writes_waiting_bytes"] == 0


def test_a_library_that_is_deleted_meanwhile_is_left_out(database: Database, tmp_path: Path):
    library = database.create_library(LibraryCreate(id="lib", name="a library", dimension=4))
    library.folder = tmp_path / "gone"
    told = {metric.name: metric.samples[0].value for metric in Libraries(database).collect()}
    assert told["vectordb_libraries"] == 0
