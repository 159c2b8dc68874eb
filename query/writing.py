"""Rows that belong together, written by one turn to the database.

A transaction of two inserts is four turns: it begins, writes twice and commits. Each of them is the time of a journey
and of two changes of process, which is most of what a chat's rows cost. What is sent together is one transaction, too
(PostgreSQL, "Frontend/Backend Protocol", multiple statements in a simple query).
"""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model
from django.db.models.sql import InsertQuery


def insert_together(*rows: Model) -> None:
    """Insert the rows in their order, all of them or none; inside a transaction, as a part of it.

    No signal is sent, and columns that the database fills in are not read back. Raises what a save would.
    """
    statements: list[str] = []
    parameters: list[Any] = []
    for row in rows:
        statement, values = _write_insert(row)
        statements.append(statement)
        parameters.extend(values)
    with connection.cursor() as cursor:
        cursor.execute(";\n".join(statements), parameters)
    for row in rows:
        row._state.adding = False
        row._state.db = DEFAULT_DB_ALIAS


def _write_insert(row: Model) -> tuple[str, tuple[Any, ...]]:
    query = InsertQuery(type(row))
    query.insert_values([field for field in row._meta.local_concrete_fields if not field.generated], [row])
    ((statement, values),) = query.get_compiler(connection=connection).as_sql()
    return statement, values
