"""A nudge never waits for the broker, and never fails its caller."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from kombu.exceptions import OperationalError

from config.nudging import Nudger


def wait_for(condition, timeout_s: float = 5.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def test_a_nudge_is_published_by_another_thread():
    published = []
    assert Nudger().submit(lambda: published.append(threading.current_thread().name))
    assert wait_for(lambda: published == ["nudger"])


def test_a_broker_that_hangs_costs_the_caller_nothing_and_a_full_queue_drops():
    release = threading.Event()
    nudger = Nudger(queue_length=2)
    assert nudger.submit(release.wait)
    assert wait_for(lambda: nudger._calls.empty())
    assert [nudger.submit(lambda: None) for _ in range(3)] == [True, True, False]
    release.set()


def test_a_failure_opens_the_breaker_for_a_while():
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise OperationalError("refused")

    nudger = Nudger(breaker_s=0.2)
    nudger.submit(fail)
    assert wait_for(lambda: attempts == [1])
    assert wait_for(lambda: not nudger.submit(fail))
    assert wait_for(lambda: nudger.submit(fail))
    assert wait_for(lambda: attempts == [1, 1])


def test_an_unexpected_fault_does_not_end_the_thread():
    done = threading.Event()
    nudger = Nudger(breaker_s=0.05)
    nudger.submit(lambda: 1 / 0)
    assert wait_for(lambda: nudger.submit(done.set) and done.wait(0.1))


@pytest.mark.ci
def test_a_broker_that_accepts_and_is_mute_neither_holds_the_probe_nor_the_nudger():
    """In a process of its own: the broker's address is read once."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        probe = (
            "import django; django.setup();"
            "from config import health; from config.nudging import Nudger, publisher; import time;"
            "from categorisation.tasks import classify_thread;"
            "assert not health.broker_answers();"
            "nudger = Nudger();"
            "nudger.submit(lambda: publisher.publish(classify_thread, ('x',)));"
            "end = time.monotonic() + 25;"
            "broken = lambda: not nudger.submit(lambda: None);"
            "[time.sleep(0.1) for _ in iter(lambda: broken() or time.monotonic() > end, True)];"
            "assert broken()"
        )
        outcome = subprocess.run(
            [sys.executable, "-c", probe],
            env={**os.environ, "CELERY_BROKER_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert outcome.returncode == 0, outcome.stderr[-2000:]


def run_script(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_forked_child_has_a_queue_and_a_thread_of_its_own():
    """Also when the parent's thread is at work, and its queue locked, at the moment of the fork."""
    script = """
import os, threading
from config.nudging import Nudger
nudger, release = Nudger(), threading.Event()
nudger.submit(release.wait)
nudger.submit(lambda: print("parent's", os.getpid() == parent, flush=True))
parent = os.getpid()
with nudger._calls.mutex:
    child = os.fork()
    if child == 0:
        nudger.submit(lambda: print("child's", flush=True))
        os._exit(0 if nudger.flush(20) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
release.set()
assert nudger.flush(20)
"""
    outcome = run_script(script)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines() == ["child's", "parent's True"]


def test_what_is_queued_at_the_end_of_a_process_is_published_and_a_stuck_broker_does_not_hold_the_end():
    script = """
import time
from config.nudging import nudger
nudger.submit(lambda: (time.sleep(.2), print("published", flush=True)))
nudger.submit(lambda: time.sleep(600))
"""
    outcome = run_script(script)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == "published\n"
