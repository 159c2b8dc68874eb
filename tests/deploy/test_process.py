"""Children that cannot outlive their parent, and logs that cannot grow for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.errors import ServiceFailed
from deploy.local.guard import end_groups, group_exists
from deploy.local.process import Command, Supervisor, describe_exit, read_tail, run_to_end, trim_log, wait_until_ready


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as made:
        yield made


def python(folder: Path, code: str, name: str = "child", **more: object) -> Command:
    argv = (sys.executable, "-c", code)
    return Command(name, argv, dict(os.environ), folder / f"{name}.log", folder, **more)  # type: ignore[arg-type]


def test_stages_end_one_after_the_other_from_the_highest(supervisor: Supervisor, tmp_path: Path) -> None:
    code = """
import pathlib, signal, sys, time
def end(*_):
    with open("order", "a") as order: order.write(sys.argv[1] + " ")
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""
    for stage in (0, 2, 1):
        name = f"stage-{stage}"
        argv = (sys.executable, "-c", code, name)
        command = Command(
            name, argv, dict(os.environ), tmp_path / "log", tmp_path, stage, is_ready=(tmp_path / name).exists
        )
        wait_until_ready(supervisor.start(command), timeout_s=10)
    supervisor.stop_all()
    assert (tmp_path / "order").read_text().split() == ["stage-2", "stage-1", "stage-0"]
    assert supervisor.children == ()


def test_stopping_a_child_ends_its_own_children_too(supervisor: Supervisor, tmp_path: Path) -> None:
    code = """
import subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(grandchild.pid, flush=True)
time.sleep(60)
"""
    child = supervisor.start(python(tmp_path, code))
    deadline = time.monotonic() + 10
    while not child.log_tail().strip():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert group_exists(child.pid)
    supervisor.stop(child)
    end_groups([child.pid], grace_s=5)
    assert not group_exists(child.pid)


def test_a_command_that_fails_is_reported_with_the_end_of_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match=r"migrate ended with exit code 3\n    no such table"):
        run_to_end(supervisor, python(tmp_path, "print('no such table'); exit(3)", "migrate"), timeout_s=10)


def test_a_command_that_does_not_end_is_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="did not end within 0 s"):
        run_to_end(supervisor, python(tmp_path, "import time; time.sleep(60)"), timeout_s=0.2)
    assert supervisor.children == ()


def test_a_child_that_is_never_ready_is_reported(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start(python(tmp_path, "import time; time.sleep(60)", is_ready=lambda: False))
    with pytest.raises(ServiceFailed, match="was not ready within 0 s"):
        wait_until_ready(child, timeout_s=0.1)


def test_a_child_that_ends_before_it_is_ready_is_reported(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start(python(tmp_path, "exit('bad setting')", is_ready=lambda: False))
    with pytest.raises(ServiceFailed, match=r"child ended with exit code 1\n    bad setting"):
        wait_until_ready(child, timeout_s=10)


def test_the_guard_deletes_the_folders_it_was_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    with Supervisor() as supervisor:
        supervisor.delete_at_end(folder)
    assert not folder.exists()


def test_the_guard_ends_what_a_killed_parent_left(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from deploy.local.process import Command, Supervisor
supervisor = Supervisor()
folder = Path({str(tmp_path)!r})
doomed = folder / "doomed"
doomed.mkdir()
supervisor.delete_at_end(doomed)
argv = (sys.executable, "-c", "import time; time.sleep(60)")
child = supervisor.start(Command("c", argv, dict(os.environ), folder / "log", folder))
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    assert group_exists(group)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end_groups([group], grace_s=20)
    deadline = time.monotonic() + 10
    while (tmp_path / "doomed").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_guard_that_was_killed_does_not_stop_the_work(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor._guard.kill()
        supervisor._guard.wait()
        child = supervisor.start(python(tmp_path, "import time; time.sleep(60)"))
        supervisor.stop(child)
        assert child.exit_code() == -signal.SIGTERM


def test_a_log_that_is_too_large_is_kept_once_and_begun_anew_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 10)
        trim_log(path, kept_size_bytes=20)
        writer.write(b"new\n")
    assert path.read_text() == "new\n"
    assert (tmp_path / "web.log.1").read_text() == "old\n" * 10


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert read_tail(path) == ""
    path.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert read_tail(path, lines=2) == "    line 9998\n    line 9999"


def test_a_child_is_shown_only_with_what_it_wrote_itself(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("an earlier run failed\n")
    with pytest.raises(ServiceFailed) as silent:
        run_to_end(supervisor, python(tmp_path, "exit(1)"), timeout_s=10)
    assert str(silent.value) == "child ended with exit code 1"
    with pytest.raises(ServiceFailed) as telling:
        run_to_end(supervisor, python(tmp_path, "exit('bad setting')"), timeout_s=10)
    assert str(telling.value) == "child ended with exit code 1\n    bad setting"


def test_a_child_whose_log_was_begun_anew_is_shown_with_all_of_it(supervisor: Supervisor, tmp_path: Path) -> None:
    path = tmp_path / "child.log"
    path.write_bytes(b"old\n" * 1_200_000)
    child = supervisor.start(python(tmp_path, "import time; time.sleep(60)"))
    with path.open("ab") as log:
        log.write(b"old\n" * 100_000)
    child.trim_log()
    path.write_text("new\n")
    assert child.log_tail() == "    new"


def test_exits_are_told_in_words() -> None:
    assert describe_exit(-9) == "was ended by SIGKILL"
    assert describe_exit(2) == "ended with exit code 2"
