"""What has to run, and with which environment: pure decisions from what the environment names."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.local.errors import SettingNotUnderstood
from deploy.local.layout import Layout
from deploy.local.process import Command

LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # only in a container, or when BIND_HOST says so
READY_FILE = "WORKER_READY_FILE"
METRICS_PORT = "METRICS_PORT"
METRICS_DIR = "METRICS_DIR"
WORKERS = ("worker", "worker-ingest", "worker-backfill")
# A batch that drains, its successor, and one for what is short: categories to empty, messages that come to nothing.
BACKFILL_PROCESSES = 3
# Workers let what is under way end; windows wait 20 s at most for calls of a classifier.
WORKER_STOP_TIMEOUT_S = 35.0


@dataclass(frozen=True, slots=True)
class Stack:
    """What this run brings along, and where it listens."""

    brings_postgres: bool
    brings_broker: bool
    brings_vectordb: bool
    web_host: str
    web_port: int
    vectordb_port: int
    flower_port: int

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Stack:
        """Raises SettingNotUnderstood for a port that is none or given twice, and for a count that is none."""
        for name in ("WEB_CONCURRENCY", "WEB_THREADS"):
            _check_count(environ, name)
        brings = {name: not environ.get(name) for name in ("DATABASE_URL", "CELERY_BROKER_URL", "VECTORDB_URL")}
        stack = cls(
            brings_postgres=brings["DATABASE_URL"],
            brings_broker=brings["CELERY_BROKER_URL"],
            brings_vectordb=brings["VECTORDB_URL"],
            # at home nobody else's machine is let in unasked; in a container the only way in is from outside
            web_host=environ.get("BIND_HOST") or (LOOPBACK if any(brings.values()) else EVERY_ADDRESS),
            web_port=_read_port(environ, "PORT", 8002),
            vectordb_port=_read_port(environ, "VECTORDB_PORT", 8003),
            flower_port=_read_port(environ, "FLOWER_PORT", 5555),
        )
        _check_ports_differ(stack)
        return stack

    @property
    def is_web_alone(self) -> bool:
        return not (self.brings_postgres or self.brings_broker or self.brings_vectordb)

    @property
    def probe_host(self) -> str:
        return LOOPBACK if self.web_host == EVERY_ADDRESS else self.web_host

    @property
    def base_url(self) -> str:
        # an address and no name: a bare system may have no /etc/hosts to find "localhost" in
        return f"http://{self.probe_host}:{self.web_port}"

    @property
    def vectordb_url(self) -> str:
        return f"http://{LOOPBACK}:{self.vectordb_port}"

    def ports(self) -> list[tuple[str, int, str, str]]:
        """What must be free: (host, port, whose it is, the variable that moves it)."""
        wanted = [(self.web_host, self.web_port, "the web application", "PORT")]
        if self.brings_vectordb:
            wanted.append((LOOPBACK, self.vectordb_port, "the vector database", "VECTORDB_PORT"))
        if self.brings_broker:
            wanted.append((LOOPBACK, self.flower_port, "Flower", "FLOWER_PORT"))
        return wanted


def build_environment(
    environ: Mapping[str, str], stack: Stack, keys: Mapping[str, str], database_url: str, broker_url: str
) -> dict[str, str]:
    """The children's environment. What the caller's environment says, and is not empty, always wins."""
    defaults = {"DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONUNBUFFERED": "1", "SECRET_KEY": keys["SECRET_KEY"]}
    if not stack.is_web_alone:
        defaults["CLASSIFIER"] = "embedding"
    if stack.brings_postgres:
        defaults["DATABASE_URL"] = database_url
    if stack.brings_broker:
        defaults |= {"CELERY_BROKER_URL": broker_url, "FLOWER_URL": f"http://localhost:{stack.flower_port}"}
    if stack.brings_vectordb:
        defaults |= {"VECTORDB_URL": stack.vectordb_url, "VECTORDB_API_KEY": keys["VECTORDB_API_KEY"]}
    return defaults | {name: value for name, value in environ.items() if value or name not in defaults}


def web(layout: Layout, stack: Stack, environment: Mapping[str, str]) -> Command:
    argv = _python("gunicorn", "-c", "deploy/gunicorn.py", "--bind", f"{stack.web_host}:{stack.web_port}")
    named = dict(environment)
    if not named.get("WEB_CONCURRENCY"):  # gunicorn itself reads it too, and would stumble over an empty one
        named.pop("WEB_CONCURRENCY", None)
    return Command(
        "web",
        argv,
        named | _metrics_dir_of(layout, environment),
        layout.logs / "web.log",
        layout.root,
        is_ready=lambda: answers(stack.web_port, "/healthz", stack.probe_host),
    )


def vectordb(layout: Layout, stack: Stack, environment: Mapping[str, str]) -> Command:
    data, port = str(layout.run / "vectordb"), str(stack.vectordb_port)
    return Command(
        "vectordb",
        _python("vectordb", "serve", "--data", data, "--port", port, "--host", LOOPBACK),
        environment,
        layout.logs / "vectordb.log",
        layout.root,
        stage=2,
        is_ready=lambda: answers(stack.vectordb_port, "/healthz"),
    )


def worker(layout: Layout, environment: Mapping[str, str]) -> Command:
    """The worker that people wait for."""
    return _worker(layout, environment, "worker", "live,mail", "service-worker", concurrency=3)


def worker_ingest(layout: Layout, environment: Mapping[str, str]) -> Command:
    """The worker that indexes documents. It leaves a processor to those whom people wait for."""
    processes = max(1, (os.cpu_count() or 1) - 1)
    return _worker(layout, environment, "worker-ingest", "ingest", "service-worker-ingest", concurrency=processes)


def worker_backfill(layout: Layout, environment: Mapping[str, str]) -> Command:
    """The worker that nobody waits for: it takes what processors' time the others leave."""
    command = _worker(layout, environment, "worker-backfill", "backfill", "service-worker-backfill", BACKFILL_PROCESSES)
    return replace(command, argv=("nice", *command.argv))


def beat(layout: Layout, environment: Mapping[str, str]) -> Command:
    argv = _celery("beat", "--pidfile=", "--loglevel=INFO")
    return Command("beat", argv, environment, layout.logs / "beat.log", layout.root)


def flower(layout: Layout, stack: Stack, environment: Mapping[str, str]) -> Command:
    # without `-A config`: it takes the broker from the environment, and nothing of Django's has to be loaded
    argv = _python("celery", "flower", f"--address={LOOPBACK}", f"--port={stack.flower_port}")
    return Command(
        "flower",
        argv,
        environment,
        layout.logs / "flower.log",
        layout.root,
        is_ready=lambda: answers(stack.flower_port, "/healthcheck"),
    )


def answers(port: int, path: str, host: str = LOOPBACK) -> bool:
    """Whether a server on this machine answers 200 there."""
    connection = http.client.HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", path, headers={"Host": f"{host}:{port}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _worker(
    layout: Layout, environment: Mapping[str, str], name: str, queues: str, node: str, concurrency: int
) -> Command:
    ready_file = layout.run / f"{name}.ready"
    argv = _celery("worker", "-Q", queues, "-n", f"{node}@%h", "-c", str(concurrency), "--loglevel=INFO")
    # on one machine there is no other worker to gossip or mingle with; mingling alone costs a second
    argv += ("--without-gossip", "--without-mingle", "--include", "deploy.worker_ready")
    return Command(
        name,
        argv,
        # no REMAP_SIGTERM: with it Celery sleeps through its soft shutdown before it tells windows that they are to end
        {
            **environment,
            **_metrics_dir_of(layout, environment),
            **_metrics_port_of(name, environment),
            READY_FILE: str(ready_file),
        },
        layout.logs / f"{name}.log",
        layout.root,
        stop_timeout_s=WORKER_STOP_TIMEOUT_S,
        before_start=lambda: ready_file.unlink(missing_ok=True),
        is_ready=ready_file.exists,
    )


def _metrics_dir_of(layout: Layout, environment: Mapping[str, str]) -> dict[str, str]:
    return {METRICS_DIR: environment.get(METRICS_DIR) or str(layout.figures)}


def _metrics_port_of(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """On one machine each worker needs a port of its own: they follow the one that is named."""
    first = environment.get(METRICS_PORT, "")
    return {METRICS_PORT: str(int(first) + WORKERS.index(name))} if _is_number(first) else {}


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def _celery(*arguments: str) -> tuple[str, ...]:
    return _python("celery", "-A", "config", *arguments)


def _read_port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not _is_number(text) or not 0 < int(text) < 65536:
        raise SettingNotUnderstood(f"{name} must be a port number, 1 to 65535; it is {text!r}.")
    return int(text)


def _check_count(environ: Mapping[str, str], name: str) -> None:
    text = environ.get(name)
    if text and not (_is_number(text) and int(text) > 0):
        raise SettingNotUnderstood(f"{name} must be a whole number, 1 or more; it is {text!r}.")


def _check_ports_differ(stack: Stack) -> None:
    owners: dict[int, tuple[str, str]] = {}
    for _, port, owner, variable in stack.ports():
        if port in owners:
            other_owner, other_variable = owners[port]
            raise SettingNotUnderstood(
                f"{other_variable} and {variable} are both {port}, "
                f"but {other_owner} and {owner} need a port each. Move one: {variable}=<port> make run"
            )
        owners[port] = owner, variable


def _is_number(text: str) -> bool:
    # str.isdigit alone takes characters that int() refuses, and int() refuses very long ones
    return text.isascii() and text.isdigit() and len(text) <= 9


def manage(layout: Layout, environment: Mapping[str, str], *arguments: str) -> Command:
    """One of Django's commands, its output in a log of its own."""
    argv = (sys.executable, str(layout.root / "manage.py"), *arguments)
    log_path = layout.logs / f"{arguments[0].replace('_', '-')}.log"
    return Command(arguments[0], argv, environment, log_path, layout.root)


def fingerprint_migrations(root: Path, lock_file: Path) -> str:
    """Changes whenever there may be a migration that a database has not seen: ours by name, the packages' by lock."""
    digest = hashlib.sha256(lock_file.read_bytes() if lock_file.exists() else b"")
    for path in sorted(root.glob("*/migrations/*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode())
    return digest.hexdigest()
