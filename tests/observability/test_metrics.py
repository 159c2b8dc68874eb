"""Figures of several processes, and who may read them."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from observability import exposition, metrics, metrics_folder

UNITS = ("_total", "_seconds", "_in_flight", "_running", "_busy", "_connections", "_in_use", "_waiting")


def test_every_figure_is_named_as_prometheus_wants_it():
    for family in metrics.REGISTRY.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert re.fullmatch(r"parley_[a-z_]+", name)
        assert name.endswith(UNITS), name
        assert family.documentation


def test_no_label_could_tell_whose_a_thing_is():
    labels = {label for family in metrics.REGISTRY.collect() for sample in family.samples for label in sample.labels}
    declared = {label for each in metrics.REGISTRY._collector_to_names for label in each._labelnames}
    allowed = {"route", "method", "status", "step", "outcome", "end", "dependency", "task", "state"}
    assert labels - {"le"} <= declared <= allowed


# -- who may read them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("172.18.0.1", {}, 403),
        ("203.0.113.9", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 403),
        ("", {}, 403),
    ],
)
def test_without_a_token_this_machine_alone_may_read_them(peer: str, headers: dict[str, str], status: int):
    assert Client(REMOTE_ADDR=peer, headers=headers).get("/metrics").status_code == status


@given(token=st.text(min_size=1), sent=st.text())
def test_with_a_token_it_alone_counts_wherever_one_comes_from(token: str, sent: str):
    def may_read(authorization: str) -> bool:
        return exposition.may_read(authorization=authorization, peer="127.0.0.1", is_forwarded=False, token=token)

    assert may_read(f"Bearer {token}")
    assert not may_read(token)
    assert may_read(sent) == (sent == f"Bearer {token}")


def test_prometheus_gets_the_format_that_it_asks_for():
    client = Client(REMOTE_ADDR="127.0.0.1")
    assert client.get("/metrics")["Content-Type"].startswith("text/plain; version=0.0.4")
    asked = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert asked["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.content.endswith(b"# EOF\n")


# -- the folder -------------------------------------------------------------------------------------------------------


def write_file(folder: Path, kind: str, pid: int | str, name: str, value: float) -> None:
    file = MmapedDict(str(folder / f"{kind}_{pid}.db"))
    file.write_value(mmap_key(name, name, [], [], "help"), value, 0.0)
    file.close()


def read(folder: Path) -> dict[str, float]:
    with metrics_folder.settled(folder):
        found = MultiProcessCollector(None, str(folder)).collect()
        return {sample.name: sample.value for metric in found for sample in metric.samples}


def find_dead_pid() -> int:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    return ended.pid


def test_what_dead_processes_counted_stays_and_what_they_had_in_hand_goes(tmp_path: Path):
    alive, total = os.getpid(), 0.0
    write_file(tmp_path, "counter", alive, "a_total", 1)
    write_file(tmp_path, "gauge_livesum", alive, "g", 1)
    for value in (10, 100):
        dead = find_dead_pid()
        write_file(tmp_path, "counter", dead, "a_total", value)
        write_file(tmp_path, "gauge_livesum", dead, "g", value)
        write_file(tmp_path, "histogram", dead, "h_sum", value)
        total += value
        assert read(tmp_path) == {"a_total": 1 + total, "g": 1, "h_sum": total}
        assert read(tmp_path) == {"a_total": 1 + total, "g": 1, "h_sum": total}
    names = {f"counter_{alive}.db", f"gauge_livesum_{alive}.db", "counter_dead.db", "histogram_dead.db", "lock"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_reader_that_a_fork_or_a_frozen_one_holds_up_reads_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metrics_folder, "LOCK_TIMEOUT_S", 0.05)
    write_file(tmp_path, "counter", find_dead_pid(), "a_total", 5)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert read(tmp_path) == {"a_total": 5}
    assert read(tmp_path) == {"a_total": 5}
    assert (tmp_path / "counter_dead.db").exists()


PREPARE = """
import os, sys
from observability import metrics_folder
first = metrics_folder.prepare()
(first / "counter_1.db").touch()
assert metrics_folder.prepare() == metrics_folder.find() == first
if os.fork() == 0:
    sys.exit(0)
os.wait()
assert first.exists()
print(first)
if sys.argv[1:] == ["killed"]:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("variable", ["TMPDIR", "METRICS_DIR"])
def test_the_folder_is_new_at_each_start_and_goes_with_its_process(tmp_path: Path, variable: str):
    environment = {**os.environ, variable: str(tmp_path), "PYTHONPATH": str(Path.cwd())}

    def run(*arguments: str) -> Path:
        argv = [sys.executable, "-c", PREPARE, *arguments]
        return Path(subprocess.run(argv, env=environment, capture_output=True, text=True).stdout.strip())

    abandoned = run("killed")
    assert abandoned.parent == tmp_path
    assert abandoned.exists()
    assert abandoned.stat().st_mode & 0o077 == 0
    (tmp_path / f"parley-metrics-{os.getpid()}-other").mkdir()
    second = run()
    assert second != abandoned
    assert [path.name for path in tmp_path.iterdir()] == [f"parley-metrics-{os.getpid()}-other"]
