"""A process that serves others lets nothing hang in the database; a command that somebody watches has time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from django.db import OperationalError, connections

from config.database.bounds import OF_REQUESTS, OF_TASKS, Bounds, bound
from tests.plugin import _test_database_url

SHOW = """
import django, json
from django.db import connection
def show():
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        print(json.dumps(cursor.fetchone()))
    connection.close()
"""
WEB = SHOW + "import config.wsgi; show()"
OTHERS = SHOW + "django.setup(); show(); from config.celery import bound_the_database; bound_the_database(); show()"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("processes", "found"),
    [(WEB, [["30s", "10s", "1min"]]), (OTHERS, [["0", "0", "0"], ["2min", "1min", "2min"]])],
    ids=["web", "command and worker"],
)
def test_every_kind_of_process_has_its_bounds(processes: str, found: list[list[str]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", _test_database_url())
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")
    outcome = subprocess.run([sys.executable, "-c", processes], capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in outcome.stdout.splitlines()] == found


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_hangs_ends_with_the_error_of_a_database_that_does_not_answer():
    options = connections.settings["default"]["OPTIONS"]
    before = dict(options)
    try:
        bound(Bounds(statement_s=0.1, lock_s=1, idle_in_transaction_s=1))
        bounded = connections.create_connection("default")
        with bounded.cursor() as cursor, pytest.raises(OperationalError, match="statement timeout"):
            cursor.execute("SELECT pg_sleep(5)")
        bounded.close()
    finally:
        options.clear()
        options.update(before)


def test_what_the_address_says_itself_wins():
    options = connections.settings["default"]["OPTIONS"]
    before = dict(options)
    try:
        options["options"] = "-c statement_timeout=5000"
        bound(OF_REQUESTS)
        assert options["options"].endswith("-c statement_timeout=5000")  # of two, PostgreSQL takes the last
    finally:
        options.clear()
        options.update(before)


def test_a_task_has_more_time_than_a_request():
    assert OF_TASKS.statement_s > OF_REQUESTS.statement_s
