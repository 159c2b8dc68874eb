"""A nudge never waits for the broker, and never fails its caller."""

from __future__ import annotations

import threading
import time

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
    nudger = Nudger()
    nudger.submit(lambda: 1 / 0)
    nudger.submit(done.set)
    assert done.wait(5)
