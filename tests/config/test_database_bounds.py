"""A process that serves others lets nothing hang in the database; a command that somebody watches has time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from django.db import OperationalError, connections

from config.database.bounds import OF_REQUESTS, OF_TASKS, Bounds, bound
from tests.plugin import _test_database_url

ASK = """
import json, os
%s
from django.db import connection
names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
with connection.cursor() as cursor:
    found = []
    for name in names:
        cursor.execute(f"SHOW {name}")
        found += cursor.fetchone()
print(json.dumps(found))
"""
WEB = "import config.wsgi"
WORKER = "import django; django.setup(); from config.celery import app, bound_the_database; bound_the_database()"
COMMAND = "import django; django.setup()"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("process", "found"),
    [(WEB, ["30s", "10s", "1min"]), (WORKER, ["2min", "1min", "2min"]), (COMMAND, ["0", "0", "0"])],
)
def test_every_kind_of_process_has_its_bounds(process: str, found: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", _test_database_url())
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")
    outcome = subprocess.run([sys.executable, "-c", ASK % process], capture_output=True, text=True, check=True)
    assert json.loads(outcome.stdout) == found


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
