"""Operations of migrations that make and drop indexes while requests go on, and that may be run again.

PostgreSQL leaves an invalid index behind when CREATE INDEX CONCURRENTLY is interrupted: it costs writes, serves no
read, and holds the name. So each operation here first drops what an earlier try left, and makes nothing that is there.
They stand in migrations with `atomic = False`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.postgres import operations as postgres
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddConstraint
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import ForeignKey, Model

# waits for older transactions, while it blocks nobody: far longer than what may wait in front of requests
WAIT_TIMEOUT_S = 300

_STATE_OF_INDEX = """
SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE c.relname = %s AND pg_table_is_visible(c.oid)
"""


class AddIndexConcurrently(postgres.AddIndexConcurrently):
    """Django's operation, made repeatable."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        if _make_way_for(schema_editor, self.index.name):
            with _patience(schema_editor):
                super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        with _patience(schema_editor):
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class RemoveIndexConcurrently(postgres.RemoveIndexConcurrently):
    """Django's operation, made repeatable."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        with _patience(schema_editor):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        if _make_way_for(schema_editor, self.name):
            with _patience(schema_editor):
                super().database_backwards(app_label, schema_editor, from_state, to_state)


class AddUniqueIndexConcurrently(postgres.NotInTransactionMixin, AddConstraint):
    """A unique constraint that is an index (one with a condition or an expression)."""

    atomic = False

    def describe(self) -> str:
        return f"Concurrently create unique index {self.constraint.name} of model {self.model_name}"

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        if not _make_way_for(schema_editor, self.constraint.name):
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        statement = str(self.constraint.create_sql(model, schema_editor))
        plain = "CREATE UNIQUE INDEX "
        if not statement.startswith(plain):
            raise ValueError(f"{self.constraint.name} is not made by an index alone.")
        with _patience(schema_editor):
            schema_editor.execute(f"{plain}CONCURRENTLY {statement.removeprefix(plain)}", params=None)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        with _patience(schema_editor):
            _drop_index(schema_editor, self.constraint.name)


class RemoveForeignKeyIndexConcurrently(postgres.NotInTransactionMixin, Operation):
    """The index that Django made for a foreign key, when another one does its work.

    It goes with the field's `db_index=False`, in a SeparateDatabaseAndState.
    """

    atomic = False
    reversible = True

    def __init__(self, model_name: str, field_name: str) -> None:
        self.model_name = model_name
        self.field_name = field_name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """The field's own change stands beside this one."""

    def describe(self) -> str:
        return f"Concurrently remove the index of {self.field_name} from {self.model_name}"

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        name, _ = self._index(from_state.apps.get_model(app_label, self.model_name), schema_editor)
        with _patience(schema_editor):
            _drop_index(schema_editor, name)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        name, columns = self._index(from_state.apps.get_model(app_label, self.model_name), schema_editor)
        if _make_way_for(schema_editor, name):
            with _patience(schema_editor):
                schema_editor.execute(f"CREATE INDEX CONCURRENTLY {schema_editor.quote_name(name)} ON {columns}")

    def _index(self, model: type[Model], schema_editor: Any) -> tuple[str, str]:
        table, field = model._meta.db_table, model._meta.get_field(self.field_name)
        assert isinstance(field, ForeignKey)
        column = field.column
        name = schema_editor._create_index_name(table, [column])
        return name, f"{schema_editor.quote_name(table)} ({schema_editor.quote_name(column)})"


def _make_way_for(schema_editor: Any, name: str) -> bool:
    """Drop an invalid index of this name; whether it is to be made."""
    if schema_editor.collect_sql:
        return True
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_STATE_OF_INDEX, [name])
        found = cursor.fetchone()
    if found is None:
        return True
    (is_valid,) = found
    if not is_valid:
        with _patience(schema_editor):
            _drop_index(schema_editor, name)
    return not is_valid


def _drop_index(schema_editor: Any, name: str) -> None:
    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")


@contextmanager
def _patience(schema_editor: BaseDatabaseSchemaEditor) -> Iterator[None]:
    """Let the session's statements wait long for a lock."""
    if schema_editor.collect_sql:
        yield
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{WAIT_TIMEOUT_S}s"])
    try:
        yield
    finally:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])
