"""Real neighbours for the tests: PostgreSQL, a broker, a vectordb process and Celery workers.

Loaded by `-p tests.plugin`, before Django's settings are. What the environment names (DATABASE_URL, CELERY_BROKER_URL,
VECTORDB_URL) is used; for the rest this module reserves a private folder and a port, names them in the environment,
and starts each server when the first test asks for it. Pure tests start nothing. Whatever happens to pytest, nothing
is left running: see deploy/local/process.py.

Fixtures: `postgres_server` (django_db asks for it by itself), `broker`, `vectordb_server`, `celery_worker`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from deploy.local import postgres, valkey
from deploy.local.ports import accepts, find_free_port
from deploy.local.process import Child, Command, Supervisor, run_to_end, wait_until_ready

REPOSITORY = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 60.0
SEVERAL = 2  # most of a test is waiting, but the bounds of those that are timed want a processor
OURS = "PARLEY_TESTS_NAMED"
LOGS = pytest.StashKey[list[Path]]()


class Neighbours:
    """The servers of one pytest process, each started when it is first needed."""

    def __init__(self) -> None:
        self.folder = Path("/tmp") / f"parley-tests-{secrets.token_hex(4)}"  # short: it holds unix sockets
        for name in os.environ.pop(OURS, "").split():  # the process that shares its tests out with this one named them
            del os.environ[name]
        self._database_is_ours = "DATABASE_URL" not in os.environ
        self._broker_is_ours = "CELERY_BROKER_URL" not in os.environ
        self._vectordb_is_ours = "VECTORDB_URL" not in os.environ
        self._started: dict[str, Child] = {}

    def name_in_environment(self) -> None:
        """Announce where everything will be."""
        before = set(os.environ)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(32))
        os.environ.setdefault("DATABASE_URL", postgres.socket_url(self.folder / "db"))
        os.environ.setdefault("CELERY_BROKER_URL", valkey.socket_url(self.folder / "valkey.sock"))
        os.environ.setdefault("VECTORDB_API_KEY", secrets.token_urlsafe(32))
        if self._vectordb_is_ours:
            os.environ["VECTORDB_URL"] = f"http://127.0.0.1:{find_free_port()}"
        os.environ[OURS] = " ".join({"DATABASE_URL", "CELERY_BROKER_URL", "VECTORDB_URL"} - before)

    @property
    def are_ours(self) -> bool:
        return self._database_is_ours and self._broker_is_ours and self._vectordb_is_ours

    @cached_property
    def supervisor(self) -> Supervisor:
        self.folder.mkdir(mode=0o711)  # the database's account must get through when root runs the tests
        supervisor = Supervisor()
        supervisor.delete_at_end(self.folder)
        return supervisor

    @cached_property
    def postgres(self) -> postgres.Postgres:
        user = postgres.choose_user(self.folder / "postgres")
        return postgres.Postgres(
            binaries=postgres.find_binaries(os.environ, user),
            data_folder=self.folder / "postgres",
            socket_folder=self.folder / "db",
            log_path=self.folder / "log" / "postgres.log",
            user=user,
            is_durable=False,
        )

    @cached_property
    def valkey(self) -> valkey.Valkey:
        return valkey.Valkey(
            binary=valkey.find_binary(os.environ),
            data_folder=self.folder / "valkey",
            socket_path=self.folder / "valkey.sock",
            log_path=self.folder / "log" / "valkey.log",
            is_durable=False,
        )

    def ensure_postgres(self) -> str:
        if self._database_is_ours and "postgres" not in self._started:
            supervisor = self.supervisor
            self.postgres.initialise(supervisor)
            postgres.make_folder_for(self.postgres.socket_folder, self.postgres.user)
            self._start(self.postgres.command())
        return os.environ["DATABASE_URL"]

    def ensure_broker(self) -> str:
        if self._broker_is_ours and "valkey" not in self._started:
            self._start(self.valkey.command())
        return os.environ["CELERY_BROKER_URL"]

    def ensure_vectordb(self) -> VectorDBServer:
        url, api_key = os.environ["VECTORDB_URL"], os.environ["VECTORDB_API_KEY"]
        if self._vectordb_is_ours and "vectordb" not in self._started:
            port = urlsplit(url).port or 0
            argv = [sys.executable, "-m", "vectordb", "serve", "--data", str(self.folder / "vectordb")]
            argv += ["--port", str(port), "--host", "127.0.0.1"]
            self._start(self.command("vectordb", argv, is_ready=lambda: accepts(port)))
        return VectorDBServer(url, api_key)

    def command(
        self,
        name: str,
        argv: list[str],
        environment: Mapping[str, str] | None = None,
        is_ready: Callable[[], bool] | None = None,
    ) -> Command:
        log_path = self.folder / "log" / f"{name}.log"
        return Command(
            name, tuple(argv), {**os.environ, **(environment or {})}, log_path, REPOSITORY, is_ready=is_ready
        )

    def empty_broker(self) -> None:
        """Leave no message for the next test."""
        if self._broker_is_ours:
            self.valkey.delete_everything()
            return
        from config.celery import app

        app.control.purge()

    def run(self, command: Command, timeout_s: float) -> None:
        run_to_end(self.supervisor, command, timeout_s=timeout_s)

    def close(self) -> None:
        if "supervisor" in self.__dict__:
            self.supervisor.close()

    def _start(self, command: Command) -> None:
        child = self.supervisor.start(command)
        self._started[command.name] = child
        wait_until_ready(child, timeout_s=START_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class VectorDBServer:
    """A running vectordb process."""

    url: str
    api_key: str


@dataclass(frozen=True, slots=True)
class Worker:
    """A running Celery worker process."""

    child: Child
    supervisor: Supervisor

    @property
    def pid(self) -> int:
        return self.child.pid

    def read_log(self) -> str:
        return self.child.command.log_path.read_text(errors="replace")

    def stop(self) -> None:
        """End it the gentle way: SIGTERM, and force only when it does not heed that."""
        self.supervisor.stop(self.child)


neighbours = Neighbours()
neighbours.name_in_environment()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process where they would share a neighbour that somebody else named: each expects it to be its own."""
    return SEVERAL if neighbours.are_ours else 0


def pytest_unconfigure() -> None:
    neighbours.close()


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    if fixturedef.argname == "django_db_setup":
        neighbours.ensure_postgres()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for path in item.stash.get(LOGS, []):
            report.sections.append((f"log of {path.stem}", path.read_text(errors="replace")[-10_000:]))
    return report


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a running PostgreSQL."""
    return neighbours.ensure_postgres()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a running broker, emptied after the test."""
    from config import nudging

    url = neighbours.ensure_broker()
    monkeypatch.setattr(nudging, "nudger", nudging.Nudger())  # an earlier test's broker may have opened the breaker
    yield url
    neighbours.empty_broker()


@pytest.fixture(scope="session")
def vectordb_server() -> VectorDBServer:
    """A running vectordb process, its data kept for the whole session."""
    return neighbours.ensure_vectordb()


@pytest.fixture
def celery_worker(
    request: pytest.FixtureRequest, broker: str, django_db_setup: None
) -> Iterator[Callable[..., Worker]]:
    """Start worker processes on the test's database and broker.

    `celery_worker(queues="live,ingest,mail", concurrency=1, environment={...})` returns when the worker is ready.
    Its test needs committed rows: mark it `django_db(transaction=True)`.
    """
    started: list[Worker] = []
    logs = request.node.stash.setdefault(LOGS, [])

    def start(
        queues: str = "live,ingest,mail", concurrency: int = 1, environment: Mapping[str, str] | None = None
    ) -> Worker:
        name = f"worker-{secrets.token_hex(3)}"
        ready_file = neighbours.folder / f"{name}.ready"
        argv = [sys.executable, "-m", "celery", "-A", "config", "worker", "-Q", queues, "-n", f"{name}@%h"]
        argv += ["-c", str(concurrency), "--without-gossip", "--without-mingle", "--include", "deploy.worker_ready"]
        given = {"DATABASE_URL": _test_database_url(), "WORKER_READY_FILE": str(ready_file)}
        given |= environment or {}
        command = neighbours.command(name, argv, given, is_ready=ready_file.exists)
        logs.append(command.log_path)
        worker = Worker(neighbours.supervisor.start(command), neighbours.supervisor)
        started.append(worker)
        wait_until_ready(worker.child, timeout_s=START_TIMEOUT_S)
        return worker

    yield start
    neighbours.supervisor.stop_together(worker.child for worker in started)


def _test_database_url() -> str:
    """DATABASE_URL with the name that Django gave the test database."""
    from django.db import connection

    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))
