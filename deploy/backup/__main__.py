"""`python -m deploy.backup create | verify | restore FOLDER`: PostgreSQL and vectordb, together.

Where they are is told by DATABASE_URL, VECTORDB_URL and VECTORDB_API_KEY. Secrets (SECRET_KEY, the keys of providers)
are not in a backup: keep them apart from it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from deploy.backup.errors import BackupError, NotRestorable, ProgramFailed, SettingMissing
from deploy.backup.folder import DUMP, SNAPSHOT, Contents, describe_files, new_backup, read_contents, write_contents
from deploy.backup.postgresql import Server
from deploy.backup.vectors import Vectors

ROOT = Path(__file__).resolve().parent.parent.parent


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (
        ("create", "copy both into a new folder, while the service is at work"),
        ("verify", "look whether a backup is as it was written"),
        ("restore", "put both back; the service is to be stopped"),
    ):
        command = commands.add_parser(name, help=does)
        command.add_argument("folder", type=Path)
        if name != "verify":
            command.add_argument("--without-vectordb", action="store_true", help="leave vectordb out: it is made anew")
        if name == "restore":
            command.add_argument("--force", action="store_true", help="although others are connected to the database")
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "create":
            create(parsed.folder, environ, with_vectors=not parsed.without_vectordb)
        elif parsed.command == "verify":
            verify(parsed.folder, environ)
        else:
            restore(parsed.folder, environ, with_vectors=not parsed.without_vectordb, is_forced=parsed.force)
    except BackupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def create(folder: Path, environ: Mapping[str, str], *, with_vectors: bool = True) -> None:
    """Write a backup. Raises BackupError; nothing is left then."""
    server = Server.from_environment(environ)
    with new_backup(folder) as draft:
        created_at = datetime.now(UTC)
        snapshot_id = _copy_vectors(draft, environ) if with_vectors else None
        server.dump(draft / DUMP)
        contents = Contents(
            format=1,
            created_at=created_at,
            server_version=server.read_version(),
            migrations=tuple(server.read_migrations()),
            snapshot_id=snapshot_id,
            files=describe_files(draft),
        )
        write_contents(draft, contents)
    print(f"{folder}: {sum(file.size_bytes for file in contents.files.values())} bytes")


def verify(folder: Path, environ: Mapping[str, str]) -> Contents:
    """Look whether a backup is as it was written, and say what it is. Raises BackupError."""
    contents = read_contents(folder)
    Server.from_environment({"DATABASE_URL": "postgresql://", **environ}).check_dump(folder / DUMP)
    vectors = "with vectordb" if contents.snapshot_id else "without vectordb"
    print(f"{folder}: whole; of {contents.created_at:%Y-%m-%d %H:%M:%S} UTC, {vectors}")
    return contents


def restore(
    folder: Path,
    environ: Mapping[str, str],
    *,
    with_vectors: bool = True,
    is_forced: bool = False,
    manage: Callable[[Mapping[str, str], Sequence[str]], None] | None = None,
) -> None:
    """Put a backup back; what fails may be done again. Raises BackupError.

    The database changes in one transaction, vectordb at one moment. `manage` runs one of Django's commands.
    """
    run_command = manage or _manage
    contents = verify(folder, environ)
    if not environ.get("SECRET_KEY"):
        raise SettingMissing("SECRET_KEY is not set.")
    _require_known(contents.migrations)
    server = Server.from_environment(environ)
    if not is_forced:
        server.require_unused()
    server.load(folder / DUMP)
    print("the database is restored")
    if with_vectors and contents.snapshot_id:
        with closing(Vectors(environ)) as vectors:
            vectors.restore_from(folder / SNAPSHOT, contents.snapshot_id)
        print("vectordb is restored")
    run_command(environ, ["migrate", "--no-input", "--verbosity=0"])
    # in a vectordb that was put back whole, nobody else has libraries
    is_ours = with_vectors and contents.snapshot_id is not None
    run_command(environ, ["reconcile", *(["--delete-unknown-libraries"] if is_ours else [])])


def _copy_vectors(draft: Path, environ: Mapping[str, str]) -> str:
    with closing(Vectors(environ)) as vectors:
        return vectors.copy_to(draft / SNAPSHOT)


def _require_known(migrations: Sequence[str]) -> None:
    """Raise NotRestorable for a database that has seen migrations which this version does not have."""
    for migration in migrations:
        app, _, name = migration.partition(".")
        folder = ROOT / app / "migrations"
        if folder.is_dir() and not (folder / f"{name}.py").exists():
            raise NotRestorable(f"The backup is of a newer version: this one has no migration {migration}.")


def _manage(environ: Mapping[str, str], arguments: Sequence[str]) -> None:
    """Run one of Django's commands, its output on this terminal. Raises ProgramFailed."""
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings", **environ}
    done = subprocess.run([sys.executable, str(ROOT / "manage.py"), *arguments], env=environment, cwd=ROOT)
    if done.returncode != 0:
        raise ProgramFailed(f"manage.py {arguments[0]}", f"exit code {done.returncode}; run it again")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
