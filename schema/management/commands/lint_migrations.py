"""`manage.py lint_migrations`: the SQL of the service's migrations, judged by squawk. No database is asked.

squawk knows which statements hold up requests on a large table. What a rule of its own is about (types, names) is left
out below; a migration that is exempt is named with its reason.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

POSTGRESQL = "15.0"  # the oldest that is supported
BEFORE_THE_FIRST_RELEASE = "made when no table had a row yet: nothing was released before"
EXEMPT = {
    "query.0001_initial": BEFORE_THE_FIRST_RELEASE,
    "query.0002_label_of_the_same_project": BEFORE_THE_FIRST_RELEASE,
    "categorisation.0002_runs_and_history": "new tables, and an index over categories: a project has fifty at most",
    "query.0006_labels_are_whole": "the constraint that it drops is contained in the one that it validates before",
}
# each with why it does not apply
LEFT_OUT = {
    "prefer-text-field": "Django's CharField checks lengths in the database, too",
    "prefer-bigint-over-int": "counts of one project's threads",
    "prefer-bigint-over-smallint": "small by their meaning",
    "prefer-identity": "Django writes its keys itself",
    "prefer-robust-stmts": "a migration in a transaction needs no IF EXISTS; others stand on schema.operations",
    "require-timeout-settings": "`manage.py migrate` sets them for all",
    "identifier-too-long": "Django cuts names itself",
}


class OfflineEditor(DatabaseSchemaEditor):
    """Collects statements, their values written into them without the server's help."""

    def execute(self, sql: Any, params: Any = ()) -> None:
        super().execute(str(sql) % tuple(map(self.quote_value, params)) if params else sql, None)


class Command(BaseCommand):
    """Ends non-zero when a migration would hold up requests."""

    help = "Judge the SQL of the service's migrations."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        squawk = shutil.which("squawk", path=str(Path(sys.executable).parent)) or shutil.which("squawk")
        if squawk is None:
            raise CommandError("squawk is not installed: make setup-dev")
        with tempfile.TemporaryDirectory() as folder:
            paths = write_statements(Path(folder))
            command = [squawk, f"--pg-version={POSTGRESQL}", f"--exclude={','.join(LEFT_OUT)}"]
            judged = subprocess.run([*command, *map(str, paths)], check=False)  # noqa: S603
        if judged.returncode:
            raise CommandError("These migrations would hold up requests (schema/operations.py has what helps).")
        self.stdout.write(f"{len(paths)} migrations hold up nobody; {len(EXEMPT)} are exempt.")


def write_statements(folder: Path) -> list[Path]:
    """A file of SQL for each of the service's migrations that is not exempt."""
    # what Django would ask the server, answered for the oldest one
    vars(connection)["pg_version"] = int(float(POSTGRESQL) * 10_000)
    loader = MigrationLoader(None)
    ours = {config.label for config in apps.get_app_configs() if Path(config.path).is_relative_to(settings.BASE_DIR)}
    # not the packages beside the code
    ours -= {config.label for config in apps.get_app_configs() if "site-packages" in config.path}
    paths = []
    state = ProjectState()
    done: set[tuple[str, str]] = set()
    for target in loader.graph.leaf_nodes():
        for key in loader.graph.forwards_plan(target):
            if key in done:
                continue
            done.add(key)
            migration = loader.graph.nodes[key]
            label = ".".join(key)
            if key[0] in ours and label not in EXEMPT:
                path = folder / f"{label}.sql"
                path.write_text("\n".join(collect_statements(migration, state)))
                paths.append(path)
            state = migration.mutate_state(state)
    return paths


def collect_statements(migration: Migration, state: ProjectState) -> list[str]:
    with OfflineEditor(connection, collect_sql=True, atomic=False) as editor:
        migration.apply(state.clone(), editor, collect_sql=True)
    statements = [str(statement) for statement in editor.collected_sql]
    return ["BEGIN;", *statements, "COMMIT;"] if migration.atomic else statements
