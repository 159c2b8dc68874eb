"""Servers of a benchmark's own: PostgreSQL with the service's tables, and the web application in front of it.

    with Surroundings() as surroundings:
        surroundings.prepare_database()   # from here on Django's models can be used
        base_url = surroundings.start_web()

What the environment names (DATABASE_URL, CELERY_BROKER_URL) is used instead of a server of one's own; its tables are
brought up to date, and what a benchmark puts there it deletes again.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from deploy.local import postgres, valkey
from deploy.local.ports import find_free_port
from deploy.local.process import Child, Command, Supervisor, run_to_end, wait_until_ready
from deploy.local.services import answers

REPOSITORY = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 60.0
MIGRATION_TIMEOUT_S = 600.0


class Surroundings:
    """Started servers, their data in a private folder; all of it is gone when the block is left."""

    def __init__(self, *, is_durable: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="parley-bench-", dir="/tmp"))  # short: it holds unix sockets
        self.folder.chmod(0o711)  # the database's account must get through when root runs the benchmark
        self.supervisor = Supervisor()
        self.supervisor.delete_at_end(self.folder)
        self._is_durable = is_durable
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "SECRET_KEY": secrets.token_urlsafe(32),
            "VECTORDB_URL": "http://127.0.0.1:9",  # nobody: what needs it brings its own
            "LOG_LEVEL": "WARNING",
            "CALLS_PER_MINUTE": "0",  # a benchmark asks with one key as fast as it is answered
        }

    def __enter__(self) -> Surroundings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.supervisor.close()

    def prepare_database(self) -> str:
        """Start PostgreSQL where none is named, make the tables, and set Django up in this process; its URL."""
        if "DATABASE_URL" not in os.environ:
            os.environ["DATABASE_URL"] = self._start_postgres()
        if "CELERY_BROKER_URL" not in os.environ:
            os.environ["CELERY_BROKER_URL"] = valkey.socket_url(self.folder / "valkey.sock")
        for name, value in self._environment.items():
            os.environ.setdefault(name, value)
        migrate = self.command("migrate", [sys.executable, "manage.py", "migrate", "--verbosity", "0"])
        run_to_end(self.supervisor, migrate, timeout_s=MIGRATION_TIMEOUT_S)
        import django

        django.setup()
        return os.environ["DATABASE_URL"]

    def start_broker(self) -> str:
        """Start a broker where none is named, once; its URL."""
        socket_path = self.folder / "valkey.sock"
        if os.environ["CELERY_BROKER_URL"] == valkey.socket_url(socket_path) and not socket_path.exists():
            server = valkey.Valkey(
                binary=valkey.find_binary(os.environ),
                data_folder=self.folder / "valkey",
                socket_path=socket_path,
                log_path=self.folder / "log" / "valkey.log",
                is_durable=False,
            )
            self.start(server.command())
        return os.environ["CELERY_BROKER_URL"]

    def start_web(self, environment: Mapping[str, str] | None = None) -> str:
        """Start the web application as it is deployed, on a port of its own; its base URL."""
        port = find_free_port()
        argv = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.py", "--bind", f"127.0.0.1:{port}"]
        self.start(self.command(f"web-{port}", argv, environment, lambda: answers(port, "/healthz")))
        return f"http://127.0.0.1:{port}"

    def start(self, command: Command) -> Child:
        """Start a process, and return when it is ready."""
        child = self.supervisor.start(command)
        wait_until_ready(child, timeout_s=START_TIMEOUT_S)
        return child

    def command(
        self,
        name: str,
        argv: list[str],
        environment: Mapping[str, str] | None = None,
        is_ready: Callable[[], bool] | None = None,
    ) -> Command:
        """A process with the benchmark's environment and a log in its folder."""
        log_path = self.folder / "log" / f"{name}.log"
        return Command(
            name, tuple(argv), {**os.environ, **(environment or {})}, log_path, REPOSITORY, is_ready=is_ready
        )

    def _start_postgres(self) -> str:
        user = postgres.choose_user(self.folder / "postgres")
        server = postgres.Postgres(
            binaries=postgres.find_binaries(os.environ, user),
            data_folder=self.folder / "postgres",
            socket_folder=self.folder / "db",
            log_path=self.folder / "log" / "postgres.log",
            user=user,
            is_durable=self._is_durable,
        )
        server.initialise(self.supervisor)
        postgres.make_folder_for(server.socket_folder, user)
        self.start(server.command())
        return server.url
