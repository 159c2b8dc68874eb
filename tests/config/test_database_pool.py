"""Threads take turns with a bounded number of connections, and none is lent twice."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from django.db import OperationalError, connection, connections, transaction

from config.database.pool import ConnectionPool, NoneFree


@dataclass
class FakeConnection:
    is_alive: bool = True
    is_closed: bool = False

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Opener:
    opened: list[FakeConnection] = field(default_factory=list)

    def __call__(self) -> FakeConnection:
        self.opened.append(FakeConnection())
        return self.opened[-1]


def make_pool(size: int = 2, *, wait_s: float = 0.05, trusted_s: float = 60.0) -> ConnectionPool[FakeConnection]:
    return ConnectionPool(size, wait_s=wait_s, is_alive=lambda lent: lent.is_alive, trusted_s=trusted_s)


def test_what_was_given_back_is_lent_again():
    pool, opener = make_pool(), Opener()
    first = pool.borrow(opener)
    pool.give_back(first)
    assert pool.borrow(opener) is first
    assert len(opener.opened) == 1


def test_no_more_than_its_size_are_lent_and_a_waiter_gets_the_first_that_is_free():
    pool, opener = make_pool(1, wait_s=10), Opener()
    first = pool.borrow(opener)
    threading.Timer(0.1, pool.give_back, [first]).start()
    assert pool.borrow(opener) is first
    with pytest.raises(NoneFree):
        make_and_exhaust().borrow(opener)


def make_and_exhaust() -> ConnectionPool[FakeConnection]:
    pool = make_pool(1)
    pool.borrow(Opener())
    return pool


def test_one_that_could_not_be_opened_takes_no_place():
    pool = make_pool(1)

    def fail() -> FakeConnection:
        raise OSError("no route")

    for _ in range(3):
        with pytest.raises(OSError, match="no route"):
            pool.borrow(fail)
    pool.borrow(Opener())


def test_one_that_was_closed_makes_room():
    pool = make_and_exhaust()
    pool.forget()
    assert pool.borrow(Opener())


@pytest.mark.parametrize(("trusted_s", "opened"), [(0.0, 2), (60.0, 1)])
def test_one_that_died_while_it_lay_idle_is_replaced(trusted_s: float, opened: int):
    pool, opener = make_pool(trusted_s=trusted_s), Opener()
    first = pool.borrow(opener)
    pool.give_back(first)
    first.is_alive = False
    pool.borrow(opener)
    assert len(opener.opened) == opened
    assert first.is_closed == (trusted_s == 0.0)


def test_many_threads_never_have_the_same_one():
    pool, opener = make_pool(3, wait_s=30), Opener()
    in_use: set[int] = set()

    def use() -> None:
        for _ in range(200):
            lent = pool.borrow(opener)
            assert id(lent) not in in_use
            in_use.add(id(lent))
            time.sleep(0)
            in_use.remove(id(lent))
            pool.give_back(lent)

    with ThreadPoolExecutor(12) as threads:
        for done in [threads.submit(use) for _ in range(12)]:
            done.result()
    assert len(opener.opened) <= 3


def test_a_forked_child_begins_with_none():
    pool, opener = make_pool(1), Opener()
    pool.give_back(pool.borrow(opener))
    read, write = os.pipe()
    if os.fork() == 0:
        pool.borrow(opener)
        os.write(write, str(len(opener.opened)).encode())
        os._exit(0)
    os.wait()
    assert os.read(read, 10) == b"2"
    assert pool.borrow(opener) is opener.opened[0]


def backend_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def in_a_thread(work: Callable[[], int]) -> int:
    def run() -> int:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


@pytest.mark.django_db(transaction=True)
def test_threads_one_after_another_use_the_same_connection():
    assert len({in_a_thread(backend_pid) for _ in range(5)}) == 1


@pytest.mark.django_db(transaction=True)
def test_one_that_is_left_in_a_transaction_is_not_lent_again():
    def leave_open() -> int:
        pid = backend_pid()
        connection.set_autocommit(False)
        backend_pid()
        return pid

    assert in_a_thread(leave_open) != in_a_thread(backend_pid)


@pytest.mark.django_db(transaction=True)
def test_one_that_the_server_ended_is_not_lent_again():
    backend_pid()  # this thread has one of its own before
    pid = in_a_thread(backend_pid)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    time.sleep(1.1)  # longer than it is trusted
    assert in_a_thread(backend_pid) != pid


@pytest.mark.django_db(transaction=True)
def test_threads_that_end_with_one_in_hand_leave_their_places():
    for _ in range(connection.settings_dict["OPTIONS"]["pool_size"] + 1):
        thread = threading.Thread(target=backend_pid)
        thread.start()
        thread.join()
        gc.collect()  # Django's wrappers refer to themselves
    assert in_a_thread(backend_pid)


@pytest.mark.django_db(transaction=True)
def test_who_finds_none_free_in_time_is_told():
    held = threading.Semaphore(0)
    ready = threading.Semaphore(0)
    options = connection.settings_dict["OPTIONS"]
    size = options["pool_size"]

    def hold() -> int:
        with transaction.atomic():
            pid = backend_pid()
            ready.release()
            held.acquire(timeout=30)
        return pid

    with ThreadPoolExecutor(size) as threads:
        holders = [threads.submit(in_a_thread, hold) for _ in range(size - 1)]  # this thread has one as well
        for _ in holders:
            assert ready.acquire(timeout=30)
        backend_pid()
        with pytest.raises(OperationalError, match="in use"):
            in_a_thread(backend_pid)
        held.release(len(holders))
        assert len({holder.result() for holder in holders}) == size - 1
    assert in_a_thread(backend_pid)
