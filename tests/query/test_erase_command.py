"""`manage.py erase`, as an operator types it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from query import erasing
from query.models import Erasure, Thread
from teams.models import Project
from tests.crash.service import wait_until
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.plugin import Worker, _test_database_url, neighbours

pytestmark = pytest.mark.django_db
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def run(*arguments: str) -> str:
    told = StringIO()
    call_command("erase", *arguments, stdout=told)
    return told.getvalue()


def make_threads(project: Project, number: int = 1, **fields: Any) -> list[Thread]:
    fields = {"created_at": LONG_AGO, "last_activity_at": LONG_AGO, **fields}
    return ThreadFactory.create_batch(number, project=project, **fields)


def test_a_dry_run_counts_and_does_nothing(project: Project):
    QuestionAnswerFactory.create_batch(3, thread=make_threads(project, 2)[0])
    make_threads(ProjectFactory())
    told = run("--project", str(project.pk), "--dry-run")
    assert f"2  {project.name} ({project.pk})" in told
    assert "2  conversations, with 3 question-answers." in told
    assert Thread.objects.count() == 3
    assert not Erasure.objects.exists()


def test_with_yes_it_erases_and_tells_how_many(project: Project):
    make_threads(project, 2, user_email="ada@example.com")
    make_threads(project, user_email="bob@example.com")
    assert "2 conversations are erased" in run("--email", "ADA@example.com", "--yes")
    assert [thread.user_email for thread in Thread.objects.all()] == ["bob@example.com"]
    erasure = Erasure.objects.get()
    assert (erasure.state, erasure.asked_by, erasure.erased) == ("done", "manage.py erase", 2)


def test_it_tells_of_earlier_ones_of_the_same_person(project: Project):
    make_threads(project, user_unique_client_id="42")
    run("--client-id", "42", "--yes")
    told = run("--client-id", "42", "--dry-run")
    assert "Erased before, by the same address or id: 1 on " in told
    assert "Erased before" not in run("--client-id", "43", "--dry-run")


def test_where_there_is_nothing_nothing_is_asked_or_recorded(project: Project):
    assert "0  conversations" in run("--project", str(project.pk))
    assert not Erasure.objects.exists()


def test_every_conversation_has_to_be_asked_for_in_so_many_words(project: Project):
    make_threads(project)
    make_threads(ProjectFactory())
    with pytest.raises(CommandError, match="or --all"):
        run("--yes")
    assert Thread.objects.count() == 2
    assert "2 conversations are erased" in run("--all", "--yes")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--all", "--older-than", "3d"], "--all is every conversation"),
        (["--older-than", "0d"], "is no age"),
        (["--older-than", "90"], "is no age"),
        (["--older-than", "-1d"], "expected one argument|is no age"),
        (["--older-than", "999999w"], "nothing is as old"),
        (["--before", "yesterday"], "is no day or time"),
        (["--before", "9999-01-01"], "lies in the future"),
        (["--before", "2026-01-01", "--older-than", "3d"], "not allowed with"),
        (["--email", ""], "names nobody"),
        (["--email", "a\0b"], "names nobody"),
        (["--client-id", "  "], "names nobody"),
        (["--project", "nonsense"], "There is no project nonsense"),
        (["--project", str(uuid4())], "There is no project"),
        ([], "Say which"),
    ],
)
def test_what_is_not_understood_is_refused_and_erases_nothing(project: Project, arguments: list[str], reason: str):
    make_threads(project)
    with pytest.raises(CommandError, match=reason):
        run(*arguments, "--yes")
    assert Thread.objects.count() == 1


@pytest.mark.parametrize(
    "age", [["--older-than", "90d"], ["--before", "2021-01-01"], ["--before", "2021-01-01T12:00+02:00"]]
)
def test_by_age(project: Project, age: list[str]):
    make_threads(project)
    make_threads(project, created_at=datetime.now(UTC), last_activity_at=datetime.now(UTC))
    assert "1 conversations are erased" in run(age, "--yes")
    assert Thread.objects.get().created_at > datetime.now(UTC) - timedelta(days=1)


# -- as a process of its own ------------------------------------------------------------------------------------------


def command(*arguments: str) -> tuple[list[str], dict[str, Any]]:
    made = neighbours.command(
        "erase", [sys.executable, "-u", "manage.py", "erase", *arguments], {"DATABASE_URL": _test_database_url()}
    )
    # who runs the tests in the background has them ignore interrupts, and children inherit that
    options = {
        "env": made.environment,
        "cwd": made.folder,
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    }
    return list(made.argv), options


@contextmanager
def one_thread_in_hand(thread: Thread) -> Iterator[None]:
    """Somebody else's transaction, which an erasure waits for with its last conversation."""
    from tests.categorisation.two_connections import uncommitted_on_another_connection

    with uncommitted_on_another_connection(lambda: Thread.objects.filter(pk=thread.pk).update(is_uncertain=True)):
        yield


@pytest.mark.ci
@pytest.mark.django_db(transaction=True)
def test_it_asks_on_a_terminal_and_takes_no_for_an_answer(project: Project):
    make_threads(project)
    argv, options = command("--project", str(project.pk))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(argv, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    os.write(ours, b"no\n")
    told, errors = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert "Erase these 1 conversations for good? Type yes:" in told
    assert "Nothing was erased." in errors
    assert process.returncode == 1
    assert Thread.objects.count() == 1


@pytest.mark.ci
@pytest.mark.django_db(transaction=True)
def test_interrupted_it_stops_and_the_same_command_goes_on(project: Project):
    kept, *_ = make_threads(project, 3)
    argv, options = command("--project", str(project.pk), "--yes")
    with one_thread_in_hand(kept):
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, **options)
        wait_until(lambda: Thread.objects.count() == 1, 60, "all but one are erased")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "2 are erased, the others are still there." in errors
    assert Erasure.objects.get().state == "cancelled"
    assert "1 conversations are erased" in run("--project", str(project.pk), "--yes")


@pytest.mark.ci
@pytest.mark.django_db(transaction=True)
def test_killed_it_is_gone_on_with_by_a_worker(project: Project, celery_worker: Callable[..., Worker]):
    kept, *_ = make_threads(project, 3, user_email="ada@example.com")
    argv, options = command("--email", "ada@example.com", "--yes")
    from query import tasks

    with one_thread_in_hand(kept):
        process = subprocess.Popen(argv, **options)
        wait_until(lambda: Thread.objects.count() == 1, 60, "all but one are erased")
        assert erasing.carry_out_open(1), "while it lives, nobody else works on it"
        assert Erasure.objects.get().state == "open"
        process.kill()
        process.wait()
    wait_until(lambda: not _is_locked(), 10, "PostgreSQL has noticed")
    worker = celery_worker(queues="backfill")
    tasks.erase_conversations.nudge()
    wait_until(lambda: not Thread.objects.exists(), 30, "the worker has erased the last one")
    wait_until(lambda: Erasure.objects.get().state == "done", 10, "it is recorded")
    erasure = Erasure.objects.get()
    assert (erasure.erased, erasure.user_email) == (3, "")
    assert "ada@example.com" not in worker.read_log()


def _is_locked() -> bool:
    """Whether any session holds the lock of an erasure."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        return bool(cursor.fetchone()[0])
