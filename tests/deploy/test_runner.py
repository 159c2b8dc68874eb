"""What `make run` promises, with the real runner, PostgreSQL and Valkey."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.ports import find_free_port
from tests.deploy.conftest import REPOSITORY, START, Checkout, Run


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pid_of(checkout: Checkout, words: str) -> int:
    return next(int(line.split()[0]) for line in checkout.processes() if words in line)


def test_a_first_run_brings_everything_along_and_a_second_one_finds_it_there(checkout: Checkout) -> None:
    first = checkout.start()
    assert checkout.manage_calls() == ["migrate", "create_demo"]
    assert "/query/v1/projects/11111111-1111-1111-1111-111111111111/chat" in first.output
    assert f"http://127.0.0.1:{checkout.environment['FLOWER_PORT']}" in first.output
    for name in ("secrets.json", "demo.json", "runtime.json"):
        assert mode_of(checkout.root / ".run" / name) == 0o600
    secrets_before = (checkout.root / ".run" / "secrets.json").read_text()
    assert first.stop() == 0
    assert checkout.processes() == []
    assert not (checkout.root / ".run" / "runtime.json").exists()

    moved = str(find_free_port())
    second = checkout.start({"PORT": moved})
    assert checkout.manage_calls() == ["migrate", "create_demo"]
    assert (checkout.root / ".run" / "secrets.json").read_text() == secrets_before
    assert json.loads((checkout.root / ".run" / "demo.json").read_text())["base_url"] == f"http://127.0.0.1:{moved}"
    assert f"127.0.0.1:{moved}/redoc" in second.output
    assert second.stop(signal.SIGTERM) == 0


def test_the_environment_beats_the_runners_defaults(checkout: Checkout, wait_until: Callable[..., None]) -> None:
    checkout.start({"CLASSIFIER": "dummy", "SECRET_KEY": "the environment's own", "EMBEDDER": ""})
    wait_until((checkout.root / ".run" / "worker-backfill.ready").exists)
    wait_until((checkout.root / ".run" / "worker-ingest.ready").exists)
    for child in ("web", "worker", "worker-ingest", "worker-backfill"):
        environment = checkout.environment_of(child)
        assert environment["CLASSIFIER"] == "dummy"
        assert environment["SECRET_KEY"] == "the environment's own"
        assert environment["DATABASE_URL"].startswith("postgresql://parley@%2F")
        assert environment["CELERY_BROKER_URL"].startswith("redis+socket:///")
        assert environment["VECTORDB_URL"].endswith(checkout.environment["VECTORDB_PORT"])
        assert environment["VECTORDB_API_KEY"] == checkout.environment_of("vectordb")["VECTORDB_API_KEY"]


def test_a_second_run_beside_the_first_is_refused_in_clear_words(checkout: Checkout) -> None:
    first = checkout.start()
    second = checkout.run()
    assert second.process.wait(timeout=10) == 1
    assert f"already running from this folder ({checkout.root}), as process {first.process.pid}" in second.output


def test_after_kill_9_of_the_runner_nothing_is_left(checkout: Checkout) -> None:
    checkout.start().stop(signal.SIGKILL)
    checkout.wait_until_nothing_runs(timeout_s=5)


@pytest.mark.ci
def test_after_kill_9_even_stubborn_children_end_and_the_next_run_waits_for_that(checkout: Checkout) -> None:
    (checkout.root / "workers-are-stubborn").touch()
    checkout.start().stop(signal.SIGKILL)
    (checkout.root / "workers-are-stubborn").unlink()
    impatient = checkout.run()
    impatient.wait_for("waiting for what an earlier run left behind")
    assert impatient.stop(timeout_s=3) == 0
    next_run = checkout.start()
    assert "waiting for what an earlier run left behind" in next_run.output
    assert len([line for line in checkout.processes() if "service-worker@" in line]) == 1
    assert next_run.stop() == 0


def test_a_crashed_child_is_named_with_the_end_of_its_log_and_started_again(
    checkout: Checkout, wait_until: Callable[..., None]
) -> None:
    run = checkout.start()
    os.kill(pid_of(checkout, "service-worker@"), signal.SIGKILL)
    run.wait_for("worker was ended by SIGKILL. The end of .run/log/worker.log")
    run.wait_for("worker restarted")
    wait_until(lambda: any("service-worker@" in line for line in checkout.processes()))


def test_a_child_that_keeps_crashing_ends_the_run_with_an_error(checkout: Checkout) -> None:
    (checkout.root / "beat-crashes").touch()
    run = checkout.run()
    assert run.process.wait(timeout=30) == 1
    assert "beat ended with exit code 1, and keeps doing so" in run.output
    assert "beat cannot read its schedule" in run.output
    assert checkout.processes() == []


def test_the_demo_does_not_wait_for_a_worker_that_keeps_crashing(checkout: Checkout) -> None:
    (checkout.root / "ingest-crashes").touch()
    run = checkout.run()
    assert run.process.wait(timeout=30) == 1
    assert "worker-ingest ended with exit code 1, and keeps doing so" in run.output
    assert "no memory for the model" in run.output
    assert checkout.processes() == []


def test_the_demo_is_made_when_the_worker_that_crashed_is_back(checkout: Checkout) -> None:
    (checkout.root / "ingest-crashes").touch()
    run = checkout.run()
    run.wait_for("worker-ingest ended with exit code 1. The end of")
    (checkout.root / "ingest-crashes").unlink()
    run.wait_for("demo made")
    assert run.stop() == 0


def test_a_killed_postgres_is_started_again_over_its_stale_pid_file(checkout: Checkout) -> None:
    run = checkout.start()
    os.kill(pid_of(checkout, "postgres -D"), signal.SIGKILL)
    run.wait_for("postgres restarted")
    assert run.stop() == 0


def test_data_that_postgres_cannot_reach_ends_the_run_in_clear_words(checkout: Checkout) -> None:
    if os.geteuid() != 0:  # only root runs the server under another account
        return
    data = checkout.root / ".run" / "postgres"
    data.mkdir(parents=True)
    os.chown(data, 12345, 12345)
    checkout.root.chmod(0o700)
    run = checkout.run()
    assert run.process.wait(timeout=20) == 1
    assert f"The database in {data} cannot be run" in run.output
    assert "Traceback" not in run.output
    assert checkout.processes() == []


def test_ctrl_c_while_starting_leaves_nothing(checkout: Checkout) -> None:
    run = checkout.run()
    run.wait_for("making a new database")
    assert run.stop() == 0
    assert checkout.processes() == []
    checkout.start()


def test_a_second_ctrl_c_ends_what_does_not_heed_the_first(checkout: Checkout) -> None:
    (checkout.root / "workers-are-stubborn").touch()
    run = checkout.start()
    run.process.send_signal(signal.SIGINT)
    run.wait_for("stopping")
    assert run.stop(timeout_s=5) == 0
    assert checkout.processes() == []


def test_a_run_under_make_ends_when_make_is_killed(checkout: Checkout) -> None:
    (checkout.root / "Makefile").write_text('run:\n\t@exec $(PY) -c "$$START"\n')
    start = START.format(argv=["run"], root=str(checkout.root)).strip()
    output = checkout.root / "make.out"
    with output.open("wb") as file:
        make = subprocess.Popen(
            ["make", "-f", str(checkout.root / "Makefile"), "run", f"PY={sys.executable}"],
            cwd=REPOSITORY,
            env={**checkout.environment, "START": start},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    Run(make, output).wait_for("Ctrl-C stops everything")
    make.kill()
    make.wait()
    checkout.wait_until_nothing_runs()


def test_what_lies_in_run_is_private(checkout: Checkout) -> None:
    checkout.start()
    for path in (checkout.root / ".run").iterdir():
        assert mode_of(path) & 0o077 == 0, path


def test_a_port_that_is_taken_is_named(checkout: Checkout) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        run = checkout.run(environment={"PORT": taken})
        assert run.process.wait(timeout=10) == 1
    assert f"Port {taken}, which the web application needs, is in use" in run.output
    assert "PORT=<port> make run" in run.output


@pytest.mark.parametrize("value", ["80 80", "0", "65536", "http"])
def test_a_port_that_is_none_is_refused(checkout: Checkout, value: str) -> None:
    run = checkout.run(environment={"PORT": value})
    assert run.process.wait(timeout=10) == 1
    assert "PORT must be a port number" in run.output


def test_where_everything_is_named_the_runner_becomes_the_web_server(checkout: Checkout) -> None:
    named = dict.fromkeys(("DATABASE_URL", "CELERY_BROKER_URL", "VECTORDB_URL"), "named")
    run = checkout.run(environment={**named, "SECRET_KEY": "given"})
    env_file = checkout.root / "web.env.json"
    while not env_file.exists():
        assert run.process.poll() is None
    assert not (checkout.root / ".run").exists()
    assert "gunicorn" in Path(f"/proc/{run.process.pid}/cmdline").read_text()
    assert len(checkout.processes()) == 1
    run.stop(signal.SIGTERM)


def test_a_command_beside_the_service_gets_its_addresses(checkout: Checkout) -> None:
    checkout.start()
    beside = checkout.run("exec", "env")
    assert beside.process.wait(timeout=10) == 0
    assert f"DATABASE_URL={checkout.environment_of('web')['DATABASE_URL']}" in beside.output.splitlines()


def test_a_command_without_the_service_gets_the_database_for_as_long_as_it_runs(checkout: Checkout) -> None:
    alone = checkout.run("exec", "sh", "-c", "echo $DATABASE_URL; exit 7")
    assert alone.process.wait(timeout=20) == 7
    assert "postgresql://parley@" in alone.output
    assert checkout.processes() == []


def test_a_failed_statement_leaves_nothing_of_its_values_in_the_log(checkout: Checkout) -> None:
    code = """
import os, psycopg2
connection = psycopg2.connect(os.environ["DATABASE_URL"])
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("CREATE TABLE questions (text text UNIQUE)")
for _ in range(2):
    cursor.execute("INSERT INTO questions VALUES ('what a customer wrote')")
"""
    failing = checkout.run("exec", sys.executable, "-c", code)
    assert failing.process.wait(timeout=20) == 1
    assert "what a customer wrote" in failing.output
    log = (checkout.root / ".run" / "log" / "postgres.log").read_text()
    assert "duplicate key value" in log
    assert "what a customer wrote" not in log


def test_exec_without_a_command_says_what_is_missing(checkout: Checkout) -> None:
    run = checkout.run("exec")
    assert run.process.wait(timeout=20) == 2
    assert "name the command to run" in run.output
    assert "Traceback" not in run.output


def test_exec_of_an_unknown_command_ends_as_a_shell_would(checkout: Checkout) -> None:
    run = checkout.run("exec", "no-such-command", environment={"DATABASE_URL": "named", "SECRET_KEY": "given"})
    assert run.process.wait(timeout=20) == 127
    assert run.output.strip() == "Cannot run no-such-command: No such file or directory."


def test_two_services_on_one_port_are_refused_before_anything_starts(checkout: Checkout) -> None:
    run = checkout.run(environment={"PORT": "9000", "FLOWER_PORT": "9000"})
    assert run.process.wait(timeout=20) == 1
    assert run.output.strip().startswith("PORT and FLOWER_PORT are both 9000")
    assert not (checkout.root / ".run").exists()
