"""The contract over HTTP, and the description held against real answers."""

import json
import socket
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.vectordb.conftest import make_chunk, make_vector

_BASE = "urn:description"


@pytest.fixture
def http(shared_server):
    with httpx.Client(base_url=shared_server.url) as http:
        yield http


@pytest.fixture(scope="session")
def description(shared_server) -> dict[str, Any]:
    return httpx.get(f"{shared_server.url}/openapi.json").json()


def assert_problem(answer: httpx.Response, status: int, *named: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == status
    for name in named:
        assert name in answer.text
    return problem


def chunk_body(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"chunk-{number}",
        "document_id": "doc",
        "text": f"text number {number}",
        "embedding": make_vector(number).tolist(),
        **more,
    }


def fill(http: httpx.Client, library_id: str, count: int = 5) -> None:
    chunks = [chunk_body(number) for number in range(count)]
    assert http.post(f"/v1/libraries/{library_id}/chunks", json={"chunks": chunks}).status_code == 200


def test_every_answer_is_as_the_description_says(http, description):
    """Walk through every described call once with success; each answer must validate against its own schema."""
    registry = Registry().with_resource(_BASE, Resource(description, DRAFT202012))
    seen: set[tuple[str, str]] = set()

    def call(method: str, path: str, status: int, *, body: Any = None, **ids: str) -> Any:
        answer = http.request(method, path.split("?")[0].format(**ids) + path[len(path.split("?")[0]) :], json=body)
        template = path.split("?")[0]
        assert answer.status_code == status, answer.text
        operation = description["paths"][template][method.lower()]
        seen.add((method, template))
        declared = operation["responses"][str(status)]
        if body is not None:
            pointer = operation["requestBody"]["content"]["application/json"]["schema"]
            jsonschema.Draft202012Validator(_absolute(pointer), registry=registry).validate(body)
        if status == 204:
            assert answer.content == b""
            return None
        schema = declared.get("content", {}).get("application/json", {}).get("schema", {})
        if template not in ("/healthz", "/readyz", "/v1/snapshots/{snapshot_id}/files/{name}"):
            assert schema
        jsonschema.Draft202012Validator(_absolute(schema), registry=registry).validate(answer.json())
        return answer.json()

    one = "/v1/libraries/{library_id}"
    call("GET", "/healthz", 200)
    call("GET", "/readyz", 200)
    assert http.get("/metrics").headers["content-type"].startswith("text/plain")
    seen.add(("GET", "/metrics"))
    new = {"name": "described", "dimension": 4, "metric": "cosine", "metadata": {"a": 1}, "index": {"type": "flat"}}
    lib = call("POST", "/v1/libraries", 201, body=new)["id"]
    call("GET", "/v1/libraries?limit=1", 200)
    call("GET", one, 200, library_id=lib)
    call("PATCH", one, 200, body={"name": "renamed"}, library_id=lib)
    call("POST", f"{one}/index", 202, body={"type": "flat"}, library_id=lib)
    call("GET", f"{one}/index", 200, library_id=lib)
    call("POST", f"{one}/documents", 201, body={"id": "doc", "name": "d", "metadata": {"x": [1]}}, library_id=lib)
    call("GET", f"{one}/documents", 200, library_id=lib)
    call("GET", f"{one}/documents/{{document_id}}", 200, library_id=lib, document_id="doc")
    call("PATCH", f"{one}/documents/{{document_id}}", 200, body={"name": "e"}, library_id=lib, document_id="doc")
    call("POST", f"{one}/chunks", 200, body={"chunks": [chunk_body(1), chunk_body(2)]}, library_id=lib)
    call("GET", f"{one}/chunks?include=embedding&limit=1", 200, library_id=lib)
    call("GET", f"{one}/chunks/{{chunk_id}}", 200, library_id=lib, chunk_id="chunk-1")
    call("PATCH", f"{one}/chunks/{{chunk_id}}", 200, body={"text": "t"}, library_id=lib, chunk_id="chunk-1")
    vector = make_vector(1).tolist()
    call("POST", f"{one}/search", 200, body={"embedding": vector, "include": ["embedding"]}, library_id=lib)
    call("POST", f"{one}/search", 200, body={"embeddings": [vector], "k": 1}, library_id=lib)
    hybrid = {"embedding": vector, "text": "number", "include": ["scores"], "filter": {"document_id": "doc"}}
    call("POST", f"{one}/search/hybrid", 200, body=hybrid, library_id=lib)
    call("POST", f"{one}/count", 200, body={"filter": {"text": "t"}}, library_id=lib)
    call("POST", f"{one}/chunks/delete", 200, body={"ids": ["chunk-2"]}, library_id=lib)
    call("DELETE", f"{one}/chunks/{{chunk_id}}", 204, library_id=lib, chunk_id="chunk-1")
    call("DELETE", f"{one}/documents/{{document_id}}", 204, library_id=lib, document_id="doc")
    snapshot = call("POST", "/v1/snapshots", 201, body={})["id"]
    call("GET", "/v1/snapshots?limit=1", 200)
    call("GET", "/v1/snapshots/{snapshot_id}", 200, snapshot_id=snapshot)
    manifest = call("GET", "/v1/snapshots/{snapshot_id}/files/{name}", 200, snapshot_id=snapshot, name="manifest.json")
    call("POST", "/v1/snapshots/{snapshot_id}/restore", 200, body={"libraries": [lib]}, snapshot_id=snapshot)
    call("DELETE", "/v1/snapshots/{snapshot_id}", 204, snapshot_id=snapshot)
    call("PUT", "/v1/snapshots/{snapshot_id}/files/{name}", 204, snapshot_id=snapshot, name="000001.sqlite3")
    call("PUT", "/v1/snapshots/{snapshot_id}", 201, body={**manifest, "libraries": []}, snapshot_id=snapshot)
    call("DELETE", "/v1/snapshots/{snapshot_id}", 204, snapshot_id=snapshot)
    call("DELETE", one, 204, library_id=lib)
    described = {(method.upper(), path) for path, item in description["paths"].items() for method in item}
    assert described == seen


def _absolute(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its references led into the description."""
    return json.loads(json.dumps(schema).replace('"#/', f'"{_BASE}#/'))


def test_search_finds_the_nearest_first_and_lists_of_lists_for_several(http, library_id):
    fill(http, library_id)
    url = f"/v1/libraries/{library_id}/search"
    vectors = [make_vector(3).tolist(), make_vector(1).tolist()]
    one = http.post(url, json={"embedding": vectors[0], "k": 2}).json()["results"]
    assert one[0]["chunk"] == {"id": "chunk-3", "document_id": "doc", "text": "text number 3", "metadata": {}}
    assert one[0]["score"] == pytest.approx(1.0)
    assert one[0]["score"] > one[1]["score"]
    several = http.post(url, json={"embeddings": vectors, "k": 2}).json()["results"]
    assert several[0] == one
    assert [len(results) for results in several] == [2, 2]
    assert several[1][0]["chunk"]["id"] == "chunk-1"


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_are_larger_is_better_in_every_metric(http, metric):
    lib = http.post("/v1/libraries", json={"name": f"m-{metric}", "dimension": 2, "metric": metric}).json()["id"]
    http.post(f"/v1/libraries/{lib}/documents", json={"id": "doc", "name": "d"})
    chunks = [chunk_body(n, embedding=vector) for n, vector in enumerate([[1, 0], [3, 4], [-2, 0]])]
    http.post(f"/v1/libraries/{lib}/chunks", json={"chunks": chunks})
    results = http.post(f"/v1/libraries/{lib}/search", json={"embedding": [1, 0]}).json()["results"]
    expected = {
        "cosine": [("chunk-0", 1.0), ("chunk-1", 0.6), ("chunk-2", -1.0)],
        "dot": [("chunk-1", 3.0), ("chunk-0", 1.0), ("chunk-2", -2.0)],
        "l2": [("chunk-0", 0.0), ("chunk-2", -3.0), ("chunk-1", -float(np.sqrt(20)))],
    }[metric]
    assert [(hit["chunk"]["id"], pytest.approx(hit["score"], abs=1e-6)) for hit in results] == expected
    http.delete(f"/v1/libraries/{lib}")


@pytest.mark.parametrize("what", ["libraries", "documents", "chunks"])
def test_pages_cover_everything_once_also_while_it_grows(http, library_id, what):
    one = f"/v1/libraries/{library_id}"
    fill(http, library_id, 7)
    for number in range(6):
        http.post(f"{one}/documents", json={"name": f"n{number}"})
    url = "/v1/libraries" if what == "libraries" else f"{one}/{what}"
    seen, cursor = [], None
    while True:
        page = http.get(url, params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page[what]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert {"libraries": 1, "documents": 7, "chunks": 7}[what] <= len(seen)


def test_a_scroll_may_be_narrowed_to_a_document_and_a_filter(http, library_id):
    one = f"/v1/libraries/{library_id}"
    http.post(f"{one}/documents", json={"id": "doc2", "name": "d"})
    chunks = [chunk_body(n, document_id="doc2" if n % 2 else "doc", metadata={"n": n // 2}) for n in range(6)]
    http.post(f"{one}/chunks", json={"chunks": chunks})
    found = http.get(f"{one}/chunks", params={"document_id": "doc2", "filter": '{"metadata.n": 1}'}).json()
    assert [chunk["id"] for chunk in found["chunks"]] == ["chunk-3"]


def test_embeddings_come_back_as_they_were_sent(http, library_id):
    fill(http, library_id, 2)
    one = f"/v1/libraries/{library_id}"
    sent = make_vector(1).tolist()
    told = http.get(f"{one}/chunks/chunk-1", params={"include": "embedding"}).json()["embedding"]
    assert np.array(told, dtype=np.float32).tolist() == sent
    hit = http.post(f"{one}/search", json={"embedding": sent, "k": 1, "include": ["embedding"]}).json()["results"][0]
    assert hit["chunk"]["embedding"] == told
    assert "embedding" not in http.get(f"{one}/chunks/chunk-1").json()


def test_every_write_tells_its_log_position_and_reads_may_ask_for_it(http, library_id):
    one = f"/v1/libraries/{library_id}"
    written = http.post(f"{one}/chunks", json={"chunks": [chunk_body(1)]})
    position = written.json()["log_position"]
    assert written.headers["X-Log-Position"] == str(position)
    vector = make_vector(1).tolist()
    assert http.post(f"{one}/search", json={"embedding": vector, "min_log_position": position}).status_code == 200
    for later in (
        http.post(f"{one}/search", json={"embedding": vector, "min_log_position": position + 1}),
        http.post(f"{one}/count", json={"min_log_position": position + 1}),
        http.get(f"{one}/chunks", params={"min_log_position": position + 1}),
    ):
        assert_problem(later, 503)
        assert later.headers["Retry-After"]


def test_creating_deleting_and_what_is_taken(http, library_id):
    one = f"/v1/libraries/{library_id}"
    assert_problem(http.post("/v1/libraries", json={"id": library_id, "name": "x", "dimension": 4}), 409)
    assert_problem(http.patch(one, json={"dimension": 5}), 409)
    assert_problem(http.patch(one, json={"metric": "dot"}), 409)
    assert_problem(http.post(f"{one}/documents", json={"id": "doc", "name": "x"}), 409)
    fill(http, library_id, 1)
    for path in (f"{one}/chunks/chunk-0", f"{one}/documents/doc"):
        assert http.delete(path).status_code == 204
        assert_problem(http.delete(path), 404)
        assert_problem(http.get(path), 404)


def test_an_unknown_document_is_a_404_and_nothing_of_the_call_is_kept(http, library_id):
    body = {"chunks": [chunk_body(1), chunk_body(2, document_id="nowhere")]}
    assert_problem(http.post(f"/v1/libraries/{library_id}/chunks", json=body), 404, "nowhere")
    assert http.post(f"/v1/libraries/{library_id}/count", json={}).json() == {"count": 0}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"embedding": [1, 2]}, "embedding"),
        ({"embedding": [0, 0, 0, 0]}, "zero"),
        ({"embeddings": [[1, 2, 3, 4], [1]]}, "embeddings.1"),
        ({"embedding": [1, 2, 3, 4], "k": 0}, "k"),
        ({"embeddings": [[1, 2, 3, 4]] * 101, "k": 1_000}, "embeddings"),
        ({"embedding": [1, 2, 3, 4], "filter": {"metadata.a": {"$gt": 1}}}, "$gt"),
        ({"embedding": [1, 2, 3, 4], "filter": {"colour": 1}}, "colour"),
        ({"embedding": [1, 2, 3, 4], "nonsense": 1}, "nonsense"),
    ],
)
def test_a_search_that_cannot_be_is_a_422_that_says_why(http, library_id, body, named):
    problem = assert_problem(http.post(f"/v1/libraries/{library_id}/search", json=body), 422, named)
    assert problem["errors"]


@pytest.mark.parametrize("type", ["hnsw", "ivf"])
def test_an_index_type_that_is_not_served_is_named(http, library_id, type):
    assert_problem(http.post(f"/v1/libraries/{library_id}/index", json={"type": type, "m": 8}), 422, type)
    body = {"name": "n", "dimension": 2, "index": {"type": type}}
    assert_problem(http.post("/v1/libraries", json=body), 422, type)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": "?"}, "cursor"),
        ({"cursor": "YWJj"}, "cursor"),
        ({"include": "text"}, "include"),
        ({"filter": "{"}, "filter"),
        ({"filter": '{"text": "\\ud800"}'}, "filter"),
        ({"filter": "[" * 5_000}, "filter"),
        ({"filter": '{"a": 1}'}, "filter"),
        ({"min_log_position": -1}, "min_log_position"),
    ],
)
def test_a_parameter_that_cannot_be_understood_is_named(http, library_id, parameters, named):
    assert_problem(http.get(f"/v1/libraries/{library_id}/chunks", params=parameters), 422, named)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'"\\ud800"', b"[" * 100_000, b"null", b"[]"])
def test_bad_json_is_a_problem(http, library_id, content):
    headers = {"Content-Type": "application/json"}
    answer = http.post(f"/v1/libraries/{library_id}/search", content=content, headers=headers)
    assert answer.status_code in (400, 422)
    assert_problem(answer, answer.status_code)


def test_a_problem_does_not_repeat_what_was_sent(http, library_id):
    body = {"chunks": [{"document_id": "doc", "text": "private words", "embedding": "!", "surprise": "private words"}]}
    assert "private" not in http.post(f"/v1/libraries/{library_id}/chunks", json=body).text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/cluster", 404),
        ("GET", "/v1/snapshots/nowhere", 404),
        ("GET", "/v1/snapshots/..%2f..", 404),
        ("PATCH", "/v1/snapshots", 405),
        ("PUT", "/v1/libraries", 405),
        ("GET", "/v1/libraries/nowhere", 404),
        ("GET", "/v1/libraries/nowhere/chunks", 404),
        ("GET", "/v1/libraries/%00", 404),
        ("GET", "/v1/libraries/..%2f..%2fetc", 404),
        ("GET", "/v1/libraries/%F0%9F%98%80", 404),
        ("DELETE", "/v1/libraries/nowhere", 404),
        ("GET", "/v1/libraries/", 404),
    ],
)
def test_every_refusal_is_a_problem(http, method, path, status):
    assert_problem(http.request(method, path), status)


def test_a_body_that_is_not_declared_as_json_is_refused(http):
    assert_problem(http.post("/v1/libraries", content=b"{}", headers={"Content-Type": "text/plain"}), 415)


def test_a_body_over_the_limit_is_a_413_with_and_without_its_length(start_server):
    server = start_server(flags=("--max-body-bytes", "2048"))
    headers = {"Content-Type": "application/json"}
    for content in (b"x" * 4096, iter([b"x" * 1024] * 4)):
        assert_problem(httpx.post(f"{server.url}/v1/libraries", content=content, headers=headers), 413, "2048")


def test_with_a_key_configured_nothing_but_the_probes_answers_without_it(start_server):
    server = start_server(api_key="s3cret")
    for headers in ({}, {"X-API-KEY": "wrong"}, {"X-API-KEY": "s3cre\xe9".encode("latin-1")}, {"X-API-KEY": ""}):
        for path in ("/v1/libraries", "/openapi.json", "/nowhere"):
            answer = httpx.get(server.url + path, headers=headers)
            assert_problem(answer, 401)
            assert answer.headers["WWW-Authenticate"]
        assert httpx.get(f"{server.url}/healthz", headers=headers).status_code == 200
    assert httpx.get(f"{server.url}/v1/libraries", headers={"X-API-KEY": "s3cret"}).status_code == 200


def test_ten_thousand_chunks_are_one_call_and_one_more_is_refused(http, library_id, client):
    result = client.upsert_chunks(library_id, [make_chunk(number) for number in range(10_000)])
    assert (result.created, len(result.ids)) == (10_000, 10_000)
    chunks = [chunk_body(number) for number in range(10_001)]
    assert_problem(http.post(f"/v1/libraries/{library_id}/chunks", json={"chunks": chunks}), 422, "chunks")


def fill_with_large_texts(client, library_id: str, count: int) -> None:
    for number in range(count):
        client.upsert_chunks(library_id, [make_chunk(number, text=str(number % 10) * 1_000_000)])


def test_results_larger_than_an_answer_may_be_are_refused_and_fewer_are_served(http, library_id, client):
    fill_with_large_texts(client, library_id, 2)
    url = f"/v1/libraries/{library_id}/search"
    body = {"embeddings": [make_vector(number).tolist() for number in range(70)], "k": 1}
    assert_problem(http.post(url, json=body), 422, "fewer results")
    assert len(http.post(url, json={**body, "embeddings": body["embeddings"][:5]}).json()["results"]) == 5


def test_a_page_of_large_chunks_ends_early_with_a_cursor(http, library_id, client):
    fill_with_large_texts(client, library_id, 70)
    url = f"/v1/libraries/{library_id}/chunks"
    first = http.get(url, params={"limit": 100})
    assert len(first.content) < 65 * 1024 * 1024
    rest = http.get(url, params={"limit": 100, "cursor": first.json()["next_cursor"]}).json()
    assert rest["next_cursor"] is None
    ids = [chunk["id"] for chunk in [*first.json()["chunks"], *rest["chunks"]]]
    assert ids == [f"chunk-{number}" for number in range(70)]


def test_many_results_are_those_of_single_queries(http, library_id):
    fill(http, library_id, 20)
    url = f"/v1/libraries/{library_id}/search"
    vectors = [make_vector(number).tolist() for number in range(60)]
    several = http.post(url, json={"embeddings": vectors, "k": 20}).json()["results"]
    for vector, results in zip(vectors, several, strict=True):
        alone = http.post(url, json={"embedding": vector, "k": 20}).json()["results"]
        assert [hit["chunk"] for hit in results] == [hit["chunk"] for hit in alone]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/chunks"),
        ("GET", "/documents"),
        ("GET", "/chunks/chunk-1"),
        ("POST", "/search"),
        ("POST", "/chunks/delete"),
        ("DELETE", ""),
    ],
)
def test_an_unknown_query_parameter_is_named(http, library_id, method, path):
    url = f"/v1/libraries/{library_id}{path}?documnt_id=doc"
    problem = assert_problem(http.request(method, url), 422, "documnt_id")
    assert problem["errors"][0]["attr"] == "documnt_id"
    assert_problem(http.get("/healthz?documnt_id=doc"), 422)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/healthz", "GET, HEAD"),
        ("/v1/libraries", "GET, HEAD, POST"),
        ("/v1/libraries/lib", "DELETE, GET, HEAD, PATCH"),
        ("/v1/libraries/lib/search", "POST"),
        ("/v1/libraries/lib/chunks/delete", "DELETE, GET, HEAD, PATCH, POST"),  # "delete" may be a chunk's id too
    ],
)
def test_a_405_tells_every_method_of_the_path(http, path, allowed):
    answer = http.put(path)
    assert_problem(answer, 405)
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/libraries", "/v1/libraries/nowhere"])
def test_head_is_get_without_its_body(http, path):
    head, got = http.head(path), http.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["content-length"] == str(len(got.content))


def test_head_on_what_is_only_posted_is_a_405(http):
    assert http.head("/v1/libraries/lib/search").status_code == 405


def test_a_client_that_leaves_while_it_sends_is_no_error_of_the_server(start_server):
    server = start_server()
    server.client().create_library(id="lib", name="n", dimension=4)
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        b"POST /v1/libraries/lib/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + b"\r\n{")
    assert server.stop() == 0
    log = server.log.read_text()
    assert "ERROR" not in log
    assert "Traceback" not in log


def test_a_hybrid_search_for_several_embeddings_joins_each_with_the_same_words(http, library_id):
    fill(http, library_id, 6)
    url = f"/v1/libraries/{library_id}/search/hybrid"
    vectors = [make_vector(number).tolist() for number in (3, 1)]
    options = {"text": "number 5", "k": 3, "include": ["scores"], "filter": {"document_id": "doc"}}
    several = http.post(url, json={"embeddings": vectors, **options}).json()["results"]
    assert several == [http.post(url, json={"embedding": one, **options}).json()["results"] for one in vectors]
    assert_problem(http.post(url, json={"embeddings": [*vectors, [1]], **options}), 422, "embeddings.2")
    assert_problem(http.post(url, json={"embeddings": vectors, "embedding": vectors[0], **options}), 422, "exactly one")
    assert_problem(http.post(url, json=options), 422, "exactly one")


@pytest.mark.parametrize("path", ["", "/{library_id}/chunks", "/{library_id}/documents"])
def test_an_empty_cursor_is_refused(http, library_id, path):
    url = "/v1/libraries" + path.format(library_id=library_id)
    assert_problem(http.get(url, params={"cursor": ""}), 422, "cursor")


@pytest.mark.parametrize("name", ["", "   ", "\t\n", "a\0b"])
def test_a_library_is_not_named_by_nothing(http, library_id, name):
    assert_problem(http.post("/v1/libraries", json={"name": name, "dimension": 2}), 422, "name")
    assert_problem(http.patch(f"/v1/libraries/{library_id}", json={"name": name}), 422, "name")
