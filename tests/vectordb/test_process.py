"""The server as a process: starting, stopping, being killed."""

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.vectordb.conftest import REPOSITORY, clean_environment, make_chunk, make_vector
from vectordb.client import NotFound, Unavailable
from vectordb.server.settings import Settings

CYCLES = 4
WRITERS = 4


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vectordb", *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(**environment),
        cwd=REPOSITORY,
        timeout=30,
    )


def test_check_24_kill_9_under_concurrent_writes_loses_nothing_acknowledged(start_server):
    """Each writer upserts and deletes its own chunks; what was acknowledged last for an id must hold after a restart.

    A write whose answer never came may have been carried out or not: such ids are left out of the comparison.
    """
    truth: dict[str, str | None] = {}
    unknown: set[str] = set()
    rng = random.Random(24)
    server = start_server()
    client = server.client()
    client.create_library(id="lib", name="n", dimension=4)
    client.create_document("lib", name="d", id="doc")

    def write(writer: int, cycle: int) -> None:
        client = server.client()
        for step in range(10_000):
            ids = [f"w{writer}-{(step * 3 + offset) % 40}" for offset in range(3)]
            text = f"cycle {cycle} step {step}"
            unknown.update(ids)
            try:
                if step % 5 == 4:
                    client.delete_chunks("lib", ids=ids)
                else:
                    client.upsert_chunks("lib", [make_chunk(step, id=id_, text=text) for id_ in ids])
            except Unavailable:
                return
            unknown.difference_update(ids)
            truth.update(dict.fromkeys(ids, None if step % 5 == 4 else text))

    for cycle in range(CYCLES):
        threads = [threading.Thread(target=write, args=(writer, cycle)) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        time.sleep(0.2 + rng.random() * 0.4)
        server.kill()
        for thread in threads:
            thread.join()
        server = start_server()
        client = server.client()
        stored = {chunk.id: chunk.text for chunk in client.iter_chunks("lib")}
        for id_, text in truth.items():
            if id_ not in unknown:
                assert stored.get(id_) == text
        found = client.search("lib", embedding=make_vector(1), k=1_000).results
        assert {hit.chunk.id for hit in found} == set(stored)
        for id_ in unknown:
            truth[id_] = stored.get(id_)
        unknown.clear()
    assert truth


def test_kill_9_while_libraries_come_and_go_leaves_whole_ones_only(start_server):
    server = start_server()
    acknowledged: dict[str, bool] = {}

    def churn(number: int) -> None:
        client = server.client()
        for step in range(1_000):
            id_ = f"l{number}-{step}"
            try:
                client.create_library(id=id_, name=id_, dimension=2)
                acknowledged[id_] = True
                if step % 2:
                    del acknowledged[id_]
                    client.delete_library(id_)
                    acknowledged[id_] = False
            except Unavailable:
                return

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.6)
    server.kill()
    for thread in threads:
        thread.join()
    client = start_server().client()
    for id_, is_there in acknowledged.items():
        if is_there:
            assert client.get_library(id_).stats.chunks == 0
        else:
            with pytest.raises(NotFound):
                client.get_library(id_)


def test_a_second_process_on_the_same_folder_is_refused_in_clear_words(start_server):
    server = start_server()
    second = run_cli("serve", "--data", str(server.data), "--port", "0")
    assert second.returncode == 1
    assert "in use by another vectordb process" in second.stderr
    assert server.client().is_ready()


def test_sigterm_finishes_the_writes_under_way_and_exits_with_zero(start_server):
    server = start_server()
    client = server.client()
    client.create_library(id="lib", name="n", dimension=4)
    client.create_document("lib", name="d", id="doc")

    def write(number: int) -> bool:
        try:
            client.upsert_chunks("lib", [make_chunk(number * 200 + offset) for offset in range(200)])
        except Unavailable:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        written = [pool.submit(write, number) for number in range(40)]
        while client.count("lib") == 0:
            time.sleep(0.005)
        assert server.stop() == 0
        acknowledged = [number for number, future in enumerate(written) if future.result()]
    again = start_server().client()
    stored = {chunk.id for chunk in again.iter_chunks("lib")}
    assert acknowledged
    assert {f"chunk-{number * 200 + 199}" for number in acknowledged} <= stored
    assert len(stored) % 200 == 0  # all or nothing


def test_readers_beside_a_writer_find_whole_writes_only(start_server):
    """The writer keeps replacing ten chunks of one text; a reader must find them all alike in each page."""
    server = start_server()
    client = server.client()
    client.create_library(id="lib", name="n", dimension=4)
    client.create_document("lib", name="d", id="doc")
    stop = threading.Event()
    client.upsert_chunks("lib", [make_chunk(offset, text="round 0") for offset in range(10)])

    def read() -> int:
        reads = 0
        while not stop.is_set():
            page = client.list_chunks("lib")
            assert len(page.chunks) == 10
            assert len({chunk.text for chunk in page.chunks}) == 1
            assert len(client.search("lib", embedding=make_vector(1), k=20).results) == 10
            reads += 1
        return reads

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(60):
            client.upsert_chunks("lib", [make_chunk(offset, text=f"round {number}") for offset in range(10)])
        stop.set()
        assert all(reader.result() > 0 for reader in readers)


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["serve"], {}, "--data"),
        (["serve", "--data", "x", "--port", "http"], {}, "--port"),
        (["serve", "--data", "x", "--port", "99999"], {}, "--port"),
        (["serve", "--data", "x"], {"VECTORDB_MAX_BODY_BYTES": "lots"}, "VECTORDB_MAX_BODY_BYTES"),
        (["serve", "--data", "x", "--max-queued-bytes", "0"], {}, "--max-queued-bytes"),
        (["serve", "--data", "x"], {"VECTORDB_MAX_QUEUED_BYTES": "lots"}, "VECTORDB_MAX_QUEUED_BYTES"),
        (["serve", "--data", "x", "--nonsense"], {}, "--nonsense"),
        (["serve", "--data", "x", "--host", "0.0.0.0"], {}, "API key"),
        (["serve", "--data", "x", "--host", "0.0.0.0"], {"VECTORDB_API_KEY": ""}, "without an API key"),
        (["serve", "--data", "x"], {"VECTORDB_API_KEY": "s3cret\u20ac"}, "VECTORDB_API_KEY: must be printable ASCII"),
        (["serve", "--data", "x"], {"VECTORDB_API_KEY": "s3\x07cret"}, "VECTORDB_API_KEY: must be printable ASCII"),
        (["serve", "--data", "x"], {"VECTORDB_API_KEY": "s3cret\n"}, "VECTORDB_API_KEY: must be printable ASCII"),
        (["serve", "--data", ""], {}, "--data (VECTORDB_DATA): must name a folder"),
        (["serve"], {"VECTORDB_DATA": ""}, "--data (VECTORDB_DATA): must name a folder"),
        ([], {}, "serve"),
    ],
)
def test_what_is_not_understood_is_refused_with_exit_code_2(run_main, arguments, environment, named):
    code, told = run_main(*arguments, **environment)
    assert code == 2
    assert named in told
    assert "s3" not in told


def test_an_empty_api_key_is_none(monkeypatch):
    monkeypatch.setenv("VECTORDB_API_KEY", "")
    assert Settings(data="x").api_key is None
    monkeypatch.setenv("VECTORDB_API_KEY", "s3cret key!")
    assert Settings(data="x").api_key.get_secret_value() == "s3cret key!"


def test_a_secret_is_not_shown_when_another_setting_is_wrong(run_main):
    code, told = run_main("serve", "--data", "x", "--port", "no", VECTORDB_API_KEY="s3cret")
    assert code == 2
    assert "s3cret" not in told


def test_a_port_that_is_taken_is_told(start_server, tmp_path):
    port = start_server().url.rsplit(":", 1)[1]
    done = run_cli("serve", "--data", str(tmp_path / "other"), "--port", port)
    assert done.returncode == 1
    assert port in done.stderr


def test_settings_of_other_programs_are_none_of_its_business(run_main, tmp_path):
    _, told = run_main("serve", "--data", str(tmp_path / "d"), "--port", "x", VECTORDB_URL="http://elsewhere")
    assert "VECTORDB_URL" not in told


def test_help_tells_every_flag(run_main):
    code, told = run_main("serve", "--help")
    assert code == 0
    for flag in (
        "--data",
        "--host",
        "--port",
        "--max-body-bytes",
        "--max-queued-bytes",
        "--insecure",
        "VECTORDB_API_KEY",
    ):
        assert flag in told
