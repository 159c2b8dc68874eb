"""What a run decides from its environment."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from deploy.local import services
from deploy.local.errors import BinaryMissing, LocalStackError, SettingNotUnderstood
from deploy.local.layout import Layout, find_runner, load_or_make_keys, lock, read_json, write_private_json
from deploy.local.process import Command
from deploy.local.services import Stack, build_environment
from deploy.local.valkey import find_binary
from deploy.local.welcome import describe_next_steps, refresh_demo

KEYS = {"SECRET_KEY": "generated", "VECTORDB_API_KEY": "generated too"}
ALL_NAMED = {"DATABASE_URL": "postgresql://db", "CELERY_BROKER_URL": "amqp://mq", "VECTORDB_URL": "http://v"}


def test_an_empty_value_counts_as_not_named() -> None:
    assert Stack.from_environment({**ALL_NAMED, "VECTORDB_URL": ""}).brings_vectordb
    assert Stack.from_environment(ALL_NAMED).is_web_alone


def test_at_home_only_this_machine_is_let_in() -> None:
    assert Stack.from_environment({}).web_host == "127.0.0.1"
    assert Stack.from_environment(ALL_NAMED).web_host == "0.0.0.0"
    opened = Stack.from_environment({"BIND_HOST": "0.0.0.0", "PORT": "9000"})
    assert (opened.web_host, opened.probe_host, opened.base_url) == ("0.0.0.0", "127.0.0.1", "http://127.0.0.1:9000")


def test_a_port_that_is_none_is_named() -> None:
    with pytest.raises(SettingNotUnderstood, match="FLOWER_PORT must be a port number"):
        Stack.from_environment({"FLOWER_PORT": "five"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("WEB_CONCURRENCY", "x"), ("WEB_CONCURRENCY", "\u00b2"), ("WEB_THREADS", "0"), ("WEB_THREADS", "9" * 5000)],
)
def test_a_count_that_is_none_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingNotUnderstood, match=f"{name} must be a whole number"):
        Stack.from_environment({name: value})


def test_an_empty_count_is_not_handed_to_the_web_server(tmp_path: Path) -> None:
    environment = {"WEB_CONCURRENCY": "", "WEB_THREADS": "4"}
    command = services.web(Layout(tmp_path), Stack.from_environment(environment), environment)
    assert command.environment.items() >= {"WEB_THREADS": "4"}.items()
    assert "WEB_CONCURRENCY" not in command.environment


@pytest.mark.parametrize("named", ["", "/figures"])
def test_figures_are_kept_in_the_checkout_unless_another_place_is_named(tmp_path: Path, named: str) -> None:
    layout = Layout(tmp_path)
    environment = {"METRICS_DIR": named}
    for command in (
        services.web(layout, Stack.from_environment(environment), environment),
        services.worker(layout, environment),
    ):
        assert command.environment["METRICS_DIR"] == (named or str(tmp_path / ".run" / "figures"))


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"PORT": "8003"}, "PORT and VECTORDB_PORT are both 8003"),
        ({"PORT": "5555"}, "PORT and FLOWER_PORT are both 5555"),
        ({"VECTORDB_PORT": "9000", "FLOWER_PORT": "9000"}, "VECTORDB_PORT and FLOWER_PORT are both 9000"),
    ],
)
def test_one_port_for_two_is_refused_and_both_are_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingNotUnderstood, match=named):
        Stack.from_environment(environ)


def test_the_port_of_something_that_is_not_brought_along_may_be_used() -> None:
    assert Stack.from_environment({"PORT": "8003", "VECTORDB_URL": "http://v"}).web_port == 8003


def test_documents_are_indexed_by_a_worker_that_labels_do_not_wait_for(tmp_path: Path) -> None:
    def queues(command: Command) -> list[str]:
        return command.argv[command.argv.index("-Q") + 1].split(",")

    layout = Layout(tmp_path)
    assert queues(services.worker(layout, {})) == ["live", "mail"]
    assert queues(services.worker_ingest(layout, {})) == ["ingest"]


def test_the_worker_that_nobody_waits_for_leaves_processors_to_the_others(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert services.worker_backfill(layout, {}).argv[0] == "nice"
    assert services.worker(layout, {}).argv[0] == sys.executable


@pytest.mark.parametrize(
    ("named", "ports"),
    [({"METRICS_PORT": "9100"}, ["9100", "9101", "9102"]), ({}, [None] * 3), ({"METRICS_PORT": ""}, [""] * 3)],
)
def test_each_worker_tells_its_figures_on_a_port_of_its_own(
    tmp_path: Path, named: dict[str, str], ports: list[str | None]
) -> None:
    workers = (services.worker, services.worker_ingest, services.worker_backfill)
    assert [start(Layout(tmp_path), named).environment.get("METRICS_PORT") for start in workers] == ports


def test_what_is_named_is_never_overwritten() -> None:
    environ = {**ALL_NAMED, "SECRET_KEY": "own", "CLASSIFIER": "dummy"}
    built = build_environment(environ, Stack.from_environment(environ), KEYS, "unused", "unused")
    assert environ.items() <= built.items()
    assert "VECTORDB_API_KEY" not in built


def test_the_web_application_alone_gets_no_choice_of_classifier_made_for_it() -> None:
    assert "CLASSIFIER" not in build_environment(ALL_NAMED, Stack.from_environment(ALL_NAMED), KEYS, "", "")
    assert build_environment({}, Stack.from_environment({}), KEYS, "d", "b")["CLASSIFIER"] == "embedding"


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    keys = load_or_make_keys(layout)
    assert load_or_make_keys(layout) == keys
    assert min(map(len, keys.values())) >= 43
    assert stat.S_IMODE((layout.run / "secrets.json").stat().st_mode) == 0o600


def test_a_cut_off_file_of_ours_reads_as_empty(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ')
    (tmp_path / "y.json").write_text("[1]")
    assert read_json(tmp_path / "x.json") == read_json(tmp_path / "y.json") == read_json(tmp_path / "none") == {}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / ".run").write_text("a file")
    with pytest.raises(LocalStackError, match="Cannot write"):
        Layout(tmp_path).make()


def test_the_holder_of_the_lock_is_found(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert find_runner(layout) is None
    layout.make()
    with lock(layout, print):
        assert find_runner(layout) is not None
    assert find_runner(layout) is None


def test_migrations_are_looked_at_again_only_when_there_is_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "teams" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_initial.py").touch()
    before = services.fingerprint_migrations(tmp_path, tmp_path / "requirements.txt")
    assert services.fingerprint_migrations(tmp_path, tmp_path / "requirements.txt") == before
    (folder / "0002_more.py").touch()
    assert services.fingerprint_migrations(tmp_path, tmp_path / "requirements.txt") != before


def test_a_valkey_of_ones_own_is_taken() -> None:
    assert find_binary({"VALKEY_BIN": "/opt/valkey"}) == Path("/opt/valkey")


def test_without_any_valkey_the_ways_out_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp-11")
    with pytest.raises(BinaryMissing, match="CELERY_BROKER_URL"):
        find_binary({})


def test_the_next_steps_can_be_pasted(tmp_path: Path) -> None:
    layout, stack = Layout(tmp_path), Stack.from_environment({"PORT": "9000"})
    layout.make()
    written = {"base_url": "http://127.0.0.1:8002", "project_id": "p", "api_key": "k", "admin_email": "a@example.com"}
    write_private_json(layout.demo, written)
    text = describe_next_steps(layout, stack, refresh_demo(layout, stack))
    assert "curl -s http://127.0.0.1:9000/query/v1/projects/p/chat" in text
    assert "X-API-KEY: k" in text
    assert "a@example.com, password in .run/demo.json" in text
    assert json.loads(layout.demo.read_text())["vectordb_url"] == "http://127.0.0.1:8003"


def test_without_a_demo_only_the_links_are_told(tmp_path: Path) -> None:
    layout, stack = Layout(tmp_path), Stack.from_environment({"CELERY_BROKER_URL": "amqp://mq"})
    text = describe_next_steps(layout, stack, refresh_demo(layout, stack))
    assert "curl" not in text
    assert "Flower" not in text
    assert "http://127.0.0.1:8002/redoc" in text
