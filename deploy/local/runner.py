"""Brings the service up, looks after it, and takes it down again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from deploy.local import postgres, services, valkey
from deploy.local.errors import CommandNotStarted, LocalStackError, PortTaken, ServiceFailed, StopRequested
from deploy.local.layout import (
    Layout,
    find_runner,
    load_or_make_keys,
    lock,
    read_json,
    write_private_json,
)
from deploy.local.ports import is_free
from deploy.local.process import (
    Child,
    Command,
    Supervisor,
    describe_exit,
    die_with_parent,
    run_to_end,
    wait_until_ready,
)
from deploy.local.services import Stack
from deploy.local.signals import StopSignals
from deploy.local.welcome import describe_next_steps, refresh_demo

START_TIMEOUT_S = 120.0
MIGRATE_TIMEOUT_S = 600.0
DEMO_TIMEOUT_S = 900.0
WATCH_INTERVAL_S = 0.25
TRIM_INTERVAL_S = 30.0
RESTART_PAUSE_S = 1.0
RESTARTS_ALLOWED = 3
RESTARTS_WINDOW_S = 60.0


class Progress:
    """Lines with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        with suppress(OSError):  # a terminal that went away is no reason to fail
            print(f"{time.monotonic() - self._started:6.1f} s  {text}", flush=True)


def run(root: Path, environ: Mapping[str, str]) -> None:
    """Run the service from this checkout until someone asks to stop. Returns then; raises LocalStackError otherwise."""
    stack = Stack.from_environment(environ)
    layout = Layout(root)
    if stack.is_web_alone:
        _become_web_server(layout, stack, environ)
    if environ.get("MAKELEVEL"):
        die_with_parent()
    layout.make()
    progress, signals = Progress(), StopSignals()
    with lock(layout, progress.say, signals.pause) as lock_file, Supervisor(held_files=[lock_file]) as supervisor:
        runner = Runner(layout, stack, environ, supervisor, progress, signals)
        try:
            runner.start()
            runner.watch()
        except StopRequested:
            progress.say("stopping")
        finally:
            supervisor.stop_all(signals.are_repeated)
            layout.runtime.unlink(missing_ok=True)
        progress.say("stopped; the data stays in .run")


def execute(root: Path, environ: Mapping[str, str], argv: Sequence[str], *, with_vectordb: bool = False) -> int:
    """Run one command with the environment that the service has; its exit code. Raises CommandNotStarted.

    The embedded PostgreSQL is started for it when it does not run already, and stopped again; so is the embedded
    vectordb `with_vectordb`.
    """
    layout, stack = Layout(root), Stack.from_environment(environ)
    brings_vectordb = with_vectordb and stack.brings_vectordb
    brings_something = stack.brings_postgres or brings_vectordb
    has_keys = environ.get("SECRET_KEY") and (environ.get("VECTORDB_API_KEY") or not stack.brings_vectordb)
    if not brings_something and has_keys:
        return _run_in_terminal(argv, root, services.build_environment(environ, stack, environ, "", ""))
    layout.make()
    keys = load_or_make_keys(layout)
    if not brings_something or find_runner(layout) is not None:
        addresses = {"DATABASE_URL": "", "CELERY_BROKER_URL": ""} | read_json(layout.runtime)
        if stack.brings_postgres and not addresses["DATABASE_URL"]:
            raise LocalStackError("Parley is just starting or stopping in this folder; try again in a moment.")
        environment = services.build_environment(
            environ, stack, keys, addresses["DATABASE_URL"], addresses["CELERY_BROKER_URL"]
        )
        return _run_in_terminal(argv, root, environment)
    progress, signals = Progress(), StopSignals()
    with lock(layout, progress.say, signals.pause) as lock_file, Supervisor(held_files=[lock_file]) as supervisor:
        runner = Runner(layout, stack, environ, supervisor, progress, signals)
        runner.start_neighbours(with_vectordb=brings_vectordb)
        return _run_in_terminal(argv, root, runner.environment)


class Runner:
    """One run of the service, from its lock to its end."""

    def __init__(
        self,
        layout: Layout,
        stack: Stack,
        environ: Mapping[str, str],
        supervisor: Supervisor,
        progress: Progress,
        signals: StopSignals,
    ) -> None:
        self._layout = layout
        self._stack = stack
        self._supervisor = supervisor
        self._say = progress.say
        self._pause = signals.pause
        self._restarts: dict[str, list[float]] = defaultdict(list)
        self._postgres = self._choose_postgres(environ) if stack.brings_postgres else None
        self._valkey = self._choose_valkey(environ) if stack.brings_broker else None
        self.environment = services.build_environment(
            environ,
            stack,
            load_or_make_keys(layout),
            self._postgres.url if self._postgres else "",
            self._valkey.url if self._valkey else "",
        )

    def start(self) -> None:
        """Everything, as much of it at once as can be; returns when the service answers."""
        for host, port, owner, variable in self._stack.ports():
            if not is_free(port, host):
                raise PortTaken(port, owner, variable)
        self._write_runtime()
        vectordb = self._start_vectordb()
        database = self._begin_database()
        self._start_broker()
        applications = [self._supervisor.start(command) for command in self._applications()]
        self._await(database, "PostgreSQL")
        self._migrate_if_needed()
        for child in [*vectordb, *applications]:
            self._await(child, child.name)
        for command in self._late_applications():
            self._supervisor.start(command)
        self._make_demo_if_wanted()
        demo = refresh_demo(self._layout, self._stack)
        self._say(f"ready\n\n{describe_next_steps(self._layout, self._stack, demo)}\n")

    def start_neighbours(self, *, with_vectordb: bool) -> None:
        """Only what is embedded of PostgreSQL, its migrations not looked at, and of vectordb."""
        vectordb = self._start_vectordb() if with_vectordb else []
        self._await(self._begin_database(), "PostgreSQL")
        for child in vectordb:
            self._await(child, child.name)

    def watch(self) -> NoReturn:
        """Look after the children until someone asks to stop (StopRequested) or one keeps crashing (ServiceFailed)."""
        next_trim = time.monotonic()
        while True:
            self._restart_what_ended()
            if time.monotonic() >= next_trim:
                next_trim = time.monotonic() + TRIM_INTERVAL_S
                for child in self._supervisor.children:
                    child.trim_log()
            self._pause(WATCH_INTERVAL_S)

    def _restart_what_ended(self, except_name: str = "") -> None:
        for child in self._supervisor.children:
            if child.name != except_name and child.exit_code() is not None:
                self._restart(child)

    def _restart(self, child: Child) -> None:
        what = describe_exit(child.exit_code() or 0)
        recent = [at for at in self._restarts[child.name] if at > time.monotonic() - RESTARTS_WINDOW_S]
        self._supervisor.forget(child)
        if len(recent) >= RESTARTS_ALLOWED:
            raise ServiceFailed(child.name, f"{what}, and keeps doing so; see its log", child.log_tail())
        self._restarts[child.name] = [*recent, time.monotonic()]
        self._say(f"{child.name} {what}. The end of {self._show(child.command.log_path)}:\n{child.log_tail()}")
        self._pause(RESTART_PAUSE_S)
        self._supervisor.start(child.command)
        self._say(f"{child.name} restarted")

    def _begin_database(self) -> Child | None:
        server = self._postgres
        if server is None:
            return None
        if not server.exists:
            self._say("making a new database in .run/postgres")
            write_private_json(self._layout.state, {"demo": "wanted"})
            server.initialise(self._supervisor, self._pause)
        return self._supervisor.start(server.command())

    def _start_broker(self) -> None:
        if self._valkey is None:
            return
        self._await(self._supervisor.start(self._valkey.command()), "Valkey")
        self._valkey.release_unacknowledged()

    def _start_vectordb(self) -> list[Child]:
        if not self._stack.brings_vectordb:
            return []
        return [self._supervisor.start(services.vectordb(self._layout, self._stack, self.environment))]

    def _applications(self) -> list[Command]:
        commands = [services.web(self._layout, self._stack, self.environment)]
        if self._stack.brings_broker:
            commands.append(services.worker(self._layout, self.environment))
        return commands

    def _late_applications(self) -> list[Command]:
        """What nobody waits for: it is started when what people wait for is there, and does not slow that down."""
        if not self._stack.brings_broker:
            return []
        return [
            services.worker_ingest(self._layout, self.environment),  # the demo's documents go through it
            services.worker_backfill(self._layout, self.environment),
            services.beat(self._layout, self.environment),
            services.flower(self._layout, self._stack, self.environment),
        ]

    def _migrate_if_needed(self) -> None:
        if self._postgres is None:
            return
        state = read_json(self._layout.state)
        wanted = services.fingerprint_migrations(self._layout.root, self._layout.root / "requirements.txt")
        if state.get("migrations") == wanted:
            return
        command = services.manage(self._layout, self.environment, "migrate", "--no-input")
        run_to_end(self._supervisor, command, timeout_s=MIGRATE_TIMEOUT_S, pause=self._pause)
        write_private_json(self._layout.state, read_json(self._layout.state) | {"migrations": wanted})
        self._say("database migrated")

    def _make_demo_if_wanted(self) -> None:
        state = read_json(self._layout.state)
        if self._postgres is None or state.get("demo") != "wanted":
            return
        self._say("making the demo: a team, a bot, a key, and the bot reads docs/")
        arguments = ["--docs", "docs", "--out", str(self._layout.demo), "--base-url", self._stack.base_url]
        arguments += ["--vectordb-url", self.environment["VECTORDB_URL"], "--wait"]
        command = services.manage(self._layout, self.environment, "create_demo", *arguments)
        command = replace(command, shows_output=True)  # it has a progress bar

        def pause(seconds: float) -> None:
            self._restart_what_ended(except_name=command.name)  # it waits for what another child does
            self._pause(seconds)

        run_to_end(self._supervisor, command, timeout_s=DEMO_TIMEOUT_S, pause=pause)
        write_private_json(self._layout.state, state | {"demo": "made"})
        self._say("demo made")

    def _await(self, child: Child | None, title: str) -> None:
        if child is None:
            return
        wait_until_ready(child, timeout_s=START_TIMEOUT_S, pause=self._pause)
        self._say(f"{title} ready")

    def _choose_postgres(self, environ: Mapping[str, str]) -> postgres.Postgres:
        wanted = self._layout.run / "postgres"
        user = postgres.choose_user(wanted)
        socket_folder = postgres.make_socket_folder(user)
        self._supervisor.delete_at_end(socket_folder)
        return postgres.Postgres(
            binaries=postgres.find_binaries(environ, user),
            data_folder=postgres.choose_data_folder(wanted, user),
            socket_folder=socket_folder,
            log_path=self._layout.logs / "postgres.log",
            user=user,
        )

    def _choose_valkey(self, environ: Mapping[str, str]) -> valkey.Valkey:
        socket_folder = postgres.make_socket_folder(None)
        self._supervisor.delete_at_end(socket_folder)
        return valkey.Valkey(
            binary=valkey.find_binary(environ),
            data_folder=self._layout.run / "valkey",
            socket_path=socket_folder / "valkey.sock",
            log_path=self._layout.logs / "valkey.log",
        )

    def _write_runtime(self) -> None:
        names = ("DATABASE_URL", "CELERY_BROKER_URL")
        write_private_json(self._layout.runtime, {name: self.environment[name] for name in names})

    def _show(self, path: Path) -> str:
        return str(path.relative_to(self._layout.root))


def _become_web_server(layout: Layout, stack: Stack, environ: Mapping[str, str]) -> NoReturn:
    """Nothing to bring along: this very process becomes the web server, as a container wants it."""
    if not is_free(stack.web_port, stack.web_host):
        raise PortTaken(stack.web_port, "the web application", "PORT")
    keys: Mapping[str, str] = environ
    if not environ.get("SECRET_KEY"):
        layout.make()
        keys = load_or_make_keys(layout)
    command = services.web(layout, stack, services.build_environment(environ, stack, keys, "", ""))
    os.chdir(layout.root)
    sys.stdout.flush()
    os.execve(command.argv[0], command.argv, dict(command.environment))  # noqa: S606  # no shell is meant


def _run_in_terminal(argv: Sequence[str], root: Path, environment: Mapping[str, str]) -> int:
    """In the foreground, with the terminal's input. Ctrl-C is the command's to handle."""
    try:
        child = subprocess.Popen(argv, cwd=root, env=dict(environment))
    except OSError as exc:
        raise CommandNotStarted(argv[0], exc) from exc
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue
