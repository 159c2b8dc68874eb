"""Askers who wait for a neighbour that is slow keep no connection to the database, so that others are served."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from django.db import connection, connections
from numpy.typing import NDArray
from rest_framework.test import APIClient

import knowledge.composition
from knowledge.vector_store import Hit, VectorStore
from teams.models import Project
from tests.knowledge.conftest import use_environment
from tests.knowledge.fakes import TinyEmbedder
from tests.query.conftest import Teach

__all__ = ["use_environment"]

POOL_SIZE = 2
QUESTION = "How are tasks routed to a queue?"
CALLS = ["chat", "chat/stream", "retrieval"] * 2
TIMEOUT_S = 30.0


class Gate:
    """Holds whoever comes to it, once it is shut."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        self.arrived.release()
        assert self._open.wait(TIMEOUT_S)


class GatedEmbedder(TinyEmbedder):
    gate = Gate()

    def embed_query(self, text: str) -> NDArray[np.float32]:
        self.gate.pass_through()
        return super().embed_query(text)


class GatedStore:
    """Searches the real store; where it is `losing`, the first search of each finds nothing but what is not live."""

    def __init__(self, store: VectorStore, gate: Gate, *, losing: bool) -> None:
        self._store = store
        self._gate = gate
        self._losing = losing

    def hybrid_search(self, library_id: str, *, k: int, **query: object) -> list[Hit]:
        is_first = k <= 100
        if self._losing and is_first:
            hits = self._store.hybrid_search(library_id, k=k, **query)  # type: ignore[arg-type]
            return [replace(hits[0], revision=99)] * k
        self._gate.pass_through()
        return self._store.hybrid_search(library_id, k=k, **query)  # type: ignore[arg-type]


@pytest.fixture
def known(transactional_db: None, use_environment: Callable[..., None], project: Project, teach: Teach) -> Project:
    use_environment(embedder=f"{__name__}.GatedEmbedder")
    teach(project, "Routing tasks", "# Queues\n\nA task is routed to a queue by the setting `task_routes`.")
    return project


@pytest.fixture
def small_pool(known: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that begin from now on share few connections, and wait for them hardly at all."""
    few = {"pool_size": POOL_SIZE, "pool_wait_s": 1.0, "application_name": "few"}
    for name, value in few.items():
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], name, value)


@pytest.fixture
def gate(
    known: Project, small_pool: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gate]:
    gate = Gate()
    gate.shut()
    if request.param == "embedder":
        monkeypatch.setattr(GatedEmbedder, "gate", gate)
    else:
        store = GatedStore(knowledge.composition.vector_store(), gate, losing=request.param == "second search")
        monkeypatch.setattr(knowledge.composition, "vector_store", lambda: store)
    yield gate
    gate.open()


def call(send: Callable[[], object]) -> int:
    """As a thread of the web server does: it ends without a connection."""
    try:
        response = send()
        if response.streaming:  # type: ignore[attr-defined]
            assert b"event: done" in b"".join(response)  # type: ignore[call-overload]
        return response.status_code  # type: ignore[attr-defined,no-any-return]
    finally:
        connections.close_all()


@pytest.mark.parametrize("gate", ["embedder", "search", "second search"], indirect=True)
def test_others_are_answered_while_many_wait(gate: Gate, known: Project, api: APIClient):
    path = f"/query/v1/projects/{known.pk}"

    def ask(name: str) -> int:
        body = {"query": QUESTION, "top_k": 8} if name == "retrieval" else {"question": QUESTION}
        return call(lambda: api.post(f"{path}/{name}", body))

    def list_threads() -> int:
        return call(lambda: api.get(f"{path}/threads/"))

    with ThreadPoolExecutor(len(CALLS) + 1) as threads:
        try:
            asked = [threads.submit(ask, name) for name in CALLS]
            for _ in CALLS:
                assert gate.arrived.acquire(timeout=TIMEOUT_S), "some did not come as far as the neighbour"
            assert threads.submit(list_threads).result() == 200
        finally:
            gate.open()
        assert [answer.result() for answer in asked] == [200] * len(CALLS)
