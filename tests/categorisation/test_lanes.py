"""Lanes: Python threads for calls."""

from __future__ import annotations

import sys
import threading
import time
from queue import SimpleQueue

import pytest

from categorisation.lanes import Lanes, NoLaneIsIdle

WAIT_S = 10.0


def test_as_many_compute_at_once_as_there_are_lanes_and_no_more():
    lanes, delivered = Lanes(3), SimpleQueue[int]()
    together = threading.Barrier(4)
    for number in range(3):
        lanes.submit(lambda number=number: (together.wait(WAIT_S) and number) or number, delivered.put)
    assert lanes.idle == 0
    with pytest.raises(NoLaneIsIdle):
        lanes.submit(lambda: 0, delivered.put)
    together.wait(WAIT_S)
    assert sorted(delivered.get(timeout=WAIT_S) for _ in range(3)) == [0, 1, 2]


def test_whoever_has_a_result_may_hand_out_the_next_call_at_once():
    lanes, delivered = Lanes(1), SimpleQueue[int]()
    for number in range(1_000):
        lanes.submit(lambda number=number: number, delivered.put)
        assert delivered.get(timeout=WAIT_S) == number


def test_lanes_are_started_when_they_are_needed_and_kept():
    before = threading.active_count()
    lanes, delivered = Lanes(100), SimpleQueue[str]()
    for _ in range(10):
        lanes.submit(lambda: threading.current_thread().name, delivered.put)
        delivered.get(timeout=WAIT_S)
    assert threading.active_count() - before <= 2


def test_a_call_that_never_ends_holds_one_lane_and_no_process():
    lanes, delivered, never = Lanes(2), SimpleQueue[bool](), threading.Event()
    lanes.submit(never.wait, delivered.put)
    lanes.submit(lambda: threading.current_thread().daemon, delivered.put)
    assert delivered.get(timeout=WAIT_S) is True
    assert lanes.idle == 1
    never.set()


def test_a_lane_outlives_what_ends_its_thread_elsewhere():
    lanes, delivered = Lanes(1), SimpleQueue[int]()
    for _ in range(3):
        lanes.submit(lambda: sys.exit("somebody's client gives up"), delivered.put)
        while lanes.idle == 0:
            time.sleep(0.001)
    lanes.submit(lambda: 42, delivered.put)
    assert delivered.get(timeout=WAIT_S) == 42
    assert delivered.empty()


def test_there_is_a_lane_at_least():
    with pytest.raises(ValueError, match="size"):
        Lanes(0)
