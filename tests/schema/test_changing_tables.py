"""Waiting for locks, and what an interrupted migration leaves behind."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.models import F

from query.models import Thread
from schema import operations
from schema.management.commands import lint_migrations
from schema.management.commands.migrate import Command
from teams.models import Project
from tests.categorisation.two_connections import uncommitted_on_another_connection
from tests.factories.query import ThreadFactory

BEFORE_INDEXES = "0003_thread_of_run_and_of_elsewhere"
WITH_INDEXES = "0004_indexes_for_lists_and_claims"
# of operations that can be run again after half of a migration was applied
REPEATABLE = tuple(
    operation
    for operation in vars(operations).values()
    if isinstance(operation, type) and operation.__module__ == operations.__name__
)


@pytest.fixture
def migrated_back(transactional_db: None):
    call_command("migrate", "query", BEFORE_INDEXES, verbosity=0)
    yield
    call_command("migrate", verbosity=0)


def indexes() -> dict[str, bool]:
    """Those of the threads, and whether they are valid."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indrelid = 'query_thread'::regclass"
        )
        return dict(cursor.fetchall())


@pytest.mark.parametrize("name", ["thread_by_update", "thread_external_id_in_project"])
def test_an_index_that_was_interrupted_is_made_anew(migrated_back: None, project: Project, name: str):
    ThreadFactory.create_batch(2, project=project)
    with connection.cursor() as cursor, pytest.raises(IntegrityError):
        cursor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON query_thread (project_id)")
    assert indexes()[name] is False
    call_command("migrate", "query", WITH_INDEXES, verbosity=0)
    assert indexes()[name] is True
    Thread.objects.update(updated_at=F("created_at"))  # the unique one of the interrupted try is gone


def test_an_index_that_is_there_is_kept_and_the_rest_is_made(migrated_back: None):
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX thread_by_update ON query_thread (project_id, updated_at)")
    call_command("migrate", "query", WITH_INDEXES, verbosity=0)
    assert all(indexes().values())
    assert not {"thread_by_category", "thread_unlabelled"} & indexes().keys()


def test_going_back_and_forth_leaves_the_same_indexes(transactional_db: None):
    before = indexes()
    call_command("migrate", "query", BEFORE_INDEXES, verbosity=0)
    assert "thread_by_category" in indexes()
    call_command("migrate", verbosity=0)
    assert indexes() == before


def test_what_is_not_in_a_transaction_can_be_repeated():
    """A retry runs the whole of such a migration again."""
    for key, migration in MigrationLoader(None).graph.nodes.items():
        if migration.atomic or key[0] not in {"query", "categorisation", "teams", "knowledge"}:
            continue
        for operation in migration.operations:
            for part in getattr(operation, "database_operations", [operation]):
                is_setting = getattr(part, "sql", "").strip().startswith("ALTER TABLE query_thread SET (")
                assert isinstance(part, REPEATABLE) or is_setting, (key, part)


def read_a_thread() -> None:
    Thread.objects.first()


@pytest.fixture
def without_the_newest_index(transactional_db: None) -> None:
    """It is dropped without blocking anybody, and waits for the reader as long as it takes."""
    call_command("migrate", "query", "0007", verbosity=0)


def test_a_migration_gives_way_and_comes_back(without_the_newest_index: None):
    said, pauses = StringIO(), []
    with uncommitted_on_another_connection(read_a_thread) as commit:

        def pause(duration_s: float) -> None:
            pauses.append(duration_s)
            if len(pauses) == 2:
                commit()

        command = Command(stdout=said, pause=pause)
        call_command(command, "query", "0005", lock_timeout_ms=50, verbosity=0)
    call_command("migrate", verbosity=0)
    assert len(pauses) >= 2
    assert all(0 < duration_s <= 5 for duration_s in pauses)
    assert "another transaction is in the way" in said.getvalue()


def test_a_migration_that_finds_no_way_says_who_stands_in_it(without_the_newest_index: None):
    with uncommitted_on_another_connection(read_a_thread):
        command = Command(pause=lambda duration_s: None)
        with pytest.raises(CommandError) as refused:
            call_command(command, "query", "0005", lock_timeout_ms=20, lock_tries=3, verbosity=0)
    assert "in 3 tries" in str(refused.value)
    assert "idle in transaction" in str(refused.value)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        assert cursor.fetchone() == ("0",)
    call_command("migrate", verbosity=0)


def test_another_error_is_not_tried_again(transactional_db: None):
    def fail(duration_s: float) -> None:
        raise AssertionError("tried again")

    with pytest.raises(CommandError):
        call_command(Command(pause=fail), "query", "no_such_migration", verbosity=0)


def test_the_linter_finds_what_would_hold_up_requests(transactional_db: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lint_migrations, "EXEMPT", {})
    with pytest.raises(CommandError):
        call_command("lint_migrations")


def test_check_19_the_migration_linter_is_clean(transactional_db: None):
    call_command("lint_migrations", stdout=StringIO())


@pytest.mark.django_db
def test_a_claim_touches_no_index(project: Project):
    ThreadFactory.create_batch(200, project=project)
    for _ in range(2):
        Thread.objects.filter(project=project).update(classify_after=F("classify_after"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid)"
            " FROM pg_class WHERE oid = 'query_thread'::regclass"
        )
        updated, hot = cursor.fetchone()
    assert updated == 400
    assert hot > 0  # those whose page had room
    Thread.objects.filter(project=project).update(is_uncertain=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_get_xact_tuples_hot_updated('query_thread'::regclass)")
        assert cursor.fetchone() == (hot,)  # is_uncertain stands in one
