"""Child processes that cannot outlive their parent.

Every child gets a session of its own (so that a terminal's Ctrl-C reaches only the parent, which then stops the
children in order) and a parent-death signal. A guard process (guard.py) covers what that signal cannot: a child that
does not heed it, and children's children. Children must be started from the parent's main thread, because Linux sends
the parent-death signal when the *thread* that forked ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from deploy.local.errors import ServiceFailed

POLL_S = 0.02
KEPT_LOG_SIZE_BYTES = 5_000_000
TAIL_LINES = 25
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """The account a service runs under when the parent is root and the service refuses root."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """One process to run. `stage` orders the end: the highest stage stops first, all of a stage together."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log_path: Path
    folder: Path
    stage: int = 3
    user: ServiceUser | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    shows_output: bool = False  # on the terminal instead of in the log
    before_start: Callable[[], None] | None = None
    is_ready: Callable[[], bool] | None = field(default=None, compare=False)


class Child:
    """A started Command. `log_start_bytes` is how much earlier runs had written into its log."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes], log_start_bytes: int) -> None:
        self.command = command
        self.process = process
        self._log_start_bytes = log_start_bytes
        self.started_at = time.monotonic()

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def pid(self) -> int:
        return self.process.pid

    def exit_code(self) -> int | None:
        """None while it runs; -N when signal N ended it. Does not reap: the pid stays ours until it is finished."""
        if self.process.returncode is not None:
            return self.process.returncode
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def log_tail(self) -> str:
        """The last lines that this very process wrote."""
        return "" if self.command.shows_output else read_tail(self.command.log_path, start_bytes=self._log_start_bytes)

    def trim_log(self) -> None:
        """Begin the log anew when it is too large."""
        if trim_log(self.command.log_path):
            self._log_start_bytes = 0

    def require_alive(self) -> None:
        """Raises ServiceFailed, with the end of the log, when the process has ended."""
        code = self.exit_code()
        if code is not None:
            raise ServiceFailed(self.name, describe_exit(code), self.log_tail())


class Supervisor:
    """Starts children, and ends all of them when it is closed, whatever happens to this process.

    `held_files` are descriptors that the guard keeps open until the last child is gone (a lock, say).
    """

    def __init__(self, held_files: Iterable[int] = ()) -> None:
        self._children: list[Child] = []
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=tuple(held_files),
            start_new_session=True,
            cwd="/",
        )

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def children(self) -> tuple[Child, ...]:
        return tuple(self._children)

    def start(self, command: Command) -> Child:
        """Start one process in a session of its own, its output appended to the command's log."""
        if command.before_start is not None:
            command.before_start()
        command.log_path.parent.mkdir(parents=True, exist_ok=True)
        with open_log(command.log_path) as log:
            log_start_bytes = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=None if command.shows_output else log,
                stderr=None if command.shows_output else log,
                env=dict(command.environment),
                cwd=command.folder,
                start_new_session=True,
                preexec_fn=_die_with_parent(command.stop_signal),  # only ever called from one thread
                user=None if command.user is None else command.user.uid,
                group=None if command.user is None else command.user.gid,
                extra_groups=None if command.user is None else [],
            )
        child = Child(command, process, log_start_bytes)
        self._children.append(child)
        self._tell_guard(f"+ {process.pid}")
        return child

    def delete_at_end(self, folder: Path) -> None:
        """Have a folder deleted when everything has ended, also when this process is killed."""
        self._tell_guard(f"rm {folder}")

    def stop(self, child: Child) -> None:
        """End one child: its stop signal, a bounded wait, then force for the whole group."""
        self.stop_together([child])

    def stop_together(self, children: Iterable[Child], is_impatient: Callable[[], bool] = lambda: False) -> None:
        """End several children at once. `is_impatient` cuts the wait short when it turns true."""
        waiting = [child for child in children if child in self._children]
        for child in waiting:
            _signal_process(child.pid, child.command.stop_signal)
        started = time.monotonic()
        while waiting:
            waited_s = time.monotonic() - started
            for child in list(waiting):
                is_late = waited_s > child.command.stop_timeout_s or is_impatient()
                if child.exit_code() is not None or is_late:
                    self._finish(child)
                    waiting.remove(child)
            if waiting:
                time.sleep(POLL_S)

    def stop_all(self, is_impatient: Callable[[], bool] = lambda: False) -> None:
        """End every child, stage by stage from the highest."""
        for stage in sorted({child.command.stage for child in self._children}, reverse=True):
            self.stop_together([child for child in self._children if child.command.stage == stage], is_impatient)

    def forget(self, child: Child) -> None:
        """Clear up after a child that ended by itself."""
        self._finish(child)

    def close(self) -> None:
        """End every child, then the guard; returns when nothing is left."""
        self.stop_all()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()

    def _finish(self, child: Child) -> None:
        # the group is ended before its leader is reaped: until then the number cannot belong to anyone else
        _kill_group(child.pid)
        child.process.wait()
        self._children.remove(child)
        self._tell_guard(f"- {child.pid}")

    def _tell_guard(self, line: str) -> None:
        if self._guard.stdin is None or self._guard.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):  # a guard that was killed guards no longer; the rest still works
            self._guard.stdin.write(f"{line}\n".encode())


def run_to_end(
    supervisor: Supervisor, command: Command, *, timeout_s: float, pause: Callable[[float], None] = time.sleep
) -> None:
    """Run a command that ends by itself. Raises ServiceFailed when it fails or takes longer than `timeout_s`."""
    child = supervisor.start(command)
    try:
        deadline = time.monotonic() + timeout_s
        while child.exit_code() is None:
            if time.monotonic() > deadline:
                raise ServiceFailed(child.name, f"did not end within {timeout_s:.0f} s", child.log_tail())
            pause(POLL_S)
    finally:
        supervisor.stop(child)
    if child.exit_code() != 0:
        raise ServiceFailed(child.name, describe_exit(child.exit_code() or 0), child.log_tail())


def wait_until_ready(child: Child, *, timeout_s: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Raises ServiceFailed when the child ends before it is ready, or is not ready within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while child.command.is_ready is not None and not child.command.is_ready():
        child.require_alive()
        if time.monotonic() > deadline:
            raise ServiceFailed(child.name, f"was not ready within {timeout_s:.0f} s", child.log_tail())
        pause(POLL_S)


def describe_exit(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def open_log(path: Path) -> IO[bytes]:
    """A log opened for appending; what was too large before is kept beside it as one older file."""
    trim_log(path)
    return path.open("ab")


def trim_log(path: Path, kept_size_bytes: int = KEPT_LOG_SIZE_BYTES) -> bool:
    """Move a log's content to `<name>.1` when it is too large; whether it was.

    Writers append, so they go on in the emptied file.
    """
    if not path.exists() or path.stat().st_size <= kept_size_bytes:
        return False
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)
    return True


def read_tail(path: Path, lines: int = TAIL_LINES, start_bytes: int = 0) -> str:
    """The last lines of what a log holds from `start_bytes` on, indented."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(start_bytes, path.stat().st_size - 20_000))
        text = log.read().decode(errors="replace")
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def arm() -> None:
        # runs in the child after it has changed its user, which would clear the setting
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a parent in the background of a shell has it ignored
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arm


def die_with_parent() -> None:
    """Have this very process stopped when its parent ends (`make run` killed by force takes the runner along)."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _signal_process(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
