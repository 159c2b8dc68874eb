"""Migrations run back and forth over many threads while a process reads, writes and chats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from benchmarks.seeding import seed_threads
from query.models import Thread
from teams.models import Project

FAR_BACK = "0003_thread_of_run_and_of_elsewhere"
BACK = "0005_label_without_source_is_refused"
LONGEST_BLOCK_S = 1.0
IDLE_S = 1.2
COMPLAINT = "another transaction is in the way"
COMPLAINT_TIMEOUT_S = 30.0
REPOSITORY = Path(__file__).resolve().parent.parent.parent


@contextmanager
def load_of(project: Project) -> Iterator[dict[str, list[float]]]:
    """A process at work; when the block is left, what it did."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    database = urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.schema.load", str(project.pk)],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database, "CELERY_BROKER_URL": "memory://"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    done: dict[str, list[float]] = {}
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield done
        out, _ = process.communicate(timeout=30)
        done.update(json.loads(out))
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0


@contextmanager
def idle_transactions_in_the_way(said: StringIO) -> Iterator[None]:
    """Transactions that have read a thread and then do nothing: one after another, with pauses between them.

    Until they are complained of there are two such rows without pauses, so that one is there at every moment: a
    statement that waited for one to end, as those on indexes do, would be followed by others in the pause behind it.
    """
    over = threading.Event()
    is_sitting = threading.Event()
    deadline = time.monotonic() + COMPLAINT_TIMEOUT_S

    def is_awaited() -> bool:
        return COMPLAINT not in said.getvalue() and time.monotonic() < deadline and not over.is_set()

    def sit(until: Callable[[], bool]) -> None:
        with transaction.atomic():
            Thread.objects.first()
            is_sitting.set()
            end = time.monotonic() + IDLE_S
            while time.monotonic() < end and not until():
                time.sleep(0.02)

    def sit_on(delay_s: float, pause_s: float | None) -> None:
        try:
            time.sleep(delay_s)
            while is_awaited():
                sit(until=lambda: not is_awaited())
            while pause_s is not None and not over.wait(pause_s):
                sit(until=over.is_set)
        finally:
            connection.close()

    sitters = [threading.Thread(target=sit_on, args=row) for row in ((0.0, 0.1), (IDLE_S / 2, None))]
    for sitter in sitters:
        sitter.start()
    assert is_sitting.wait(COMPLAINT_TIMEOUT_S)
    try:
        yield
    finally:
        over.set()
        for sitter in sitters:
            sitter.join()


def migrate_back_and_forth(project: Project, count: int, back: str = FAR_BACK) -> dict[str, list[float]]:
    seed_threads(project.pk, count, newest=timezone.now())
    said = StringIO()
    try:
        with load_of(project) as done, idle_transactions_in_the_way(said):
            call_command("migrate", "query", back, stdout=said)
            call_command("migrate", stdout=said)
    finally:
        call_command("migrate", verbosity=0)
    assert COMPLAINT in said.getvalue()
    sys.stdout.write(f"{count:,} threads; how many, and the longest in s: {done}\n")
    return done


@pytest.mark.ci
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("back", [BACK, FAR_BACK])
def test_check_19_no_request_waits_a_second_while_tables_change(project: Project, back: str):
    for name, (count, longest_s) in migrate_back_and_forth(project, 20_000, back).items():
        assert count > 10, name
        assert longest_s < LONGEST_BLOCK_S, name


@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
def test_check_19_no_request_waits_a_second_while_a_table_of_a_million_rows_changes(project: Project):
    for name, (count, longest_s) in migrate_back_and_forth(project, 1_000_000).items():
        assert count > 10, name
        assert longest_s < LONGEST_BLOCK_S, name
