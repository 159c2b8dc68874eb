"""Real vectordb processes, and what tests put into them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI

from tests.vectordb.faults import FaultyDisk
from vectordb.__main__ import main
from vectordb.client import ChunkInput, Client
from vectordb.engine import Database, Hit, Library, Snapshots
from vectordb.schemas import DocumentCreate, FloatArray, LibraryCreate
from vectordb.server.app import create_app
from vectordb.server.metrics import ServerMetrics
from vectordb.storage import SnapshotFolder

REPOSITORY = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 90.0


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without settings that another server of this test run may have."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VECTORDB_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **more}


@dataclass
class ServerProcess:
    """One `python -m vectordb serve`, on a port of its own."""

    data: Path
    api_key: str | None = None
    flags: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    url: str = ""

    @property
    def log(self) -> Path:
        return self.data.with_name(self.data.name + ".log")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> ServerProcess:
        key = {} if self.api_key is None else {"VECTORDB_API_KEY": self.api_key}
        environment = clean_environment(**key, **self.settings)
        argv = [sys.executable, "-m", "vectordb", "serve", "--data", str(self.data), "--port", "0", *self.flags]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, cwd=REPOSITORY)
        self.url = self._wait_for_url()
        client = self.client()
        while not client.is_ready():
            time.sleep(0.01)
        return self

    def client(self) -> Client:
        client = Client(self.url, api_key=self.api_key)
        self.clients.append(client)
        return client

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            found = re.search(r"serving .* on (http://[\w.:\[\]]+)", self.log.read_text())
            if found:
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"the server did not start:\n{self.log.read_text()}")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server on a data folder of this test (the same one when called again)."""
    started: list[ServerProcess] = []

    def start(
        data: Path = tmp_path / "data", *, api_key: str | None = None, flags: tuple[str, ...] = (), **settings: str
    ):
        started.append(ServerProcess(data, api_key, flags, settings))
        return started[-1].start()

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that keep to libraries of their own."""
    server = ServerProcess(tmp_path_factory.mktemp("shared") / "data").start()
    yield server
    server.close()


@pytest.fixture
def client(shared_server: ServerProcess) -> Client:
    return shared_server.clients[0]


@pytest.fixture
def library_id(client: Client) -> Iterator[str]:
    """A library of dimension 4 with one document, `doc`."""
    library = client.create_library(name=f"library {time.monotonic_ns()}", dimension=4)
    client.create_document(library.id, name="The document", id="doc", metadata={"language": "en"})
    yield library.id
    client.delete_library(library.id)


def make_chunk(number: int, *, dimension: int = 4, text: str | None = None, **more: object) -> ChunkInput:
    """A chunk whose id, text and embedding follow from `number`."""
    return ChunkInput(
        **{
            "id": f"chunk-{number}",
            "document_id": "doc",
            "text": f"text number {number}" if text is None else text,
            "embedding": make_vector(number, dimension),
            **more,
        }
    )


def make_vector(seed: int, dimension: int = 4) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)


def ids_of(hits: list[Hit]) -> list[str]:
    return [hit.chunk.id for hit in hits]


def hold_writer(library: Library) -> threading.Event:
    """Keep the library's writer in a job until the event is set."""
    held, go_on = threading.Event(), threading.Event()

    def hold(_session) -> None:
        held.set()
        go_on.wait(10)

    library._writer.submit(hold)
    assert held.wait(10)
    return go_on


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """A disk that fails on demand, below SQLite."""
    disk = FaultyDisk()
    yield disk
    disk.unregister()


@pytest.fixture
def database(tmp_path: Path, disk: FaultyDisk) -> Iterator[Database]:
    """An empty database in this process, on that disk."""
    database = Database(tmp_path / "data", vfs=disk.name)
    yield database
    disk.fails_sync = disk.is_full = False
    database.close()


@pytest.fixture
def snapshots(database: Database, tmp_path: Path) -> Iterator[Snapshots]:
    """The snapshots of that database."""
    snapshots = Snapshots(database, SnapshotFolder(tmp_path / "snapshots"))
    yield snapshots
    snapshots.close()


@pytest.fixture
def library(database: Database) -> Library:
    """A library with one document."""
    library = database.create_library(LibraryCreate(id="lib", name="a library", dimension=4))
    library.create_document(DocumentCreate(id="doc", name="The document")).result()
    return library


@pytest.fixture
def run_main(monkeypatch, capsys):
    """Run the command line in this process; give (exit code, what it told)."""

    def run(*arguments: str, **environment: str) -> tuple[object, str]:
        for name in [name for name in os.environ if name.startswith("VECTORDB_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            code: object = main(list(arguments))
        except SystemExit as exc:
            code = exc.code
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def make_app(
    database: Database, snapshots: Snapshots, *, api_keys: Sequence[str] = (), max_body_bytes: int = 1_000_000
) -> FastAPI:
    """The application in this process, over that database."""
    return create_app(
        database,
        snapshots,
        ServerMetrics(),
        api_keys=api_keys,
        metrics_token=None,
        max_body_bytes=max_body_bytes,
    )
