"""PostgreSQL's side: its own programs. The environment tells them where the server is: argv bears no password."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

from deploy.backup.errors import NotRestorable, ProgramFailed, ProgramMissing, SettingMissing
from deploy.local.postgres import find_installations

_PROGRAMS = ("pg_dump", "pg_restore", "psql")
_INHERITED = ("PATH", "HOME", "TZ", "LD_LIBRARY_PATH")
# The variables that libpq reads for the parameters of an address: https://www.postgresql.org/docs/current/libpq-envars.html
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "gssencmode": "PGGSSENCMODE",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
# Whoever reads a session's row can take its place: people log in anew after a restore.
_WITHOUT_ROWS = ("public.django_session",)
_PSQL = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse")
_BEGIN = "BEGIN;\nSET LOCAL lock_timeout = '10s';\nSET LOCAL client_min_messages = warning;\n"
_EMPTY = "DROP SCHEMA public CASCADE;\nCREATE SCHEMA public;\n"
_COMMIT = "\nCOMMIT;\n"


@dataclass(frozen=True, slots=True)
class Server:
    """One database of a server, and the programs to talk to it."""

    programs: Path
    environment: Mapping[str, str]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Server:
        """The database that DATABASE_URL names. Raises SettingMissing, ProgramMissing."""
        return cls(_find_programs(environ), _describe_connection(environ))

    def read_version(self) -> str:
        """The server's version."""
        return self._query("SHOW server_version")[0]

    def read_migrations(self) -> list[str]:
        """The migrations that the database has seen, as `app.name`; none in an empty one."""
        if not self._query("SELECT 1 WHERE to_regclass('public.django_migrations') IS NOT NULL"):
            return []
        return self._query("SELECT app || '.' || name FROM public.django_migrations ORDER BY id")

    def count_other_sessions(self) -> int:
        """How many others are connected to the database."""
        return int(
            self._query(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )[0]
        )

    def dump(self, target: Path) -> None:
        """Write the database as it is at one moment; others go on meanwhile."""
        without = [f"--exclude-table-data={table}" for table in _WITHOUT_ROWS]
        self._run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}", *without)

    def check_dump(self, dump: Path) -> None:
        """Raise ProgramFailed unless the dump's table of contents can be read."""
        self._run("pg_restore", "--list", str(dump))

    def load(self, dump: Path) -> None:
        """Replace everything in the database by what the dump holds, in one transaction.

        Whatever fails or is killed, the database is as it was: psql is sent the COMMIT only when pg_restore has told
        everything, and without it the end of its input is the end of its transaction.
        """
        # An empty database may belong to an account that must not drop the schema.
        before = _BEGIN + ("" if self._is_empty() else _EMPTY)
        with TemporaryFile() as script_told, TemporaryFile() as loader_told:
            script = self._start("pg_restore", "--no-owner", "--no-privileges", "--file=-", dump, told=script_told)
            loader = self._start("psql", *_PSQL, "--file=-", told=loader_told)
            assert script.stdout is not None
            assert loader.stdin is not None
            with suppress(BrokenPipeError):  # psql has ended at an error, which it tells
                loader.stdin.write(before.encode())
                shutil.copyfileobj(script.stdout, loader.stdin)
                if script.wait() == 0:
                    loader.stdin.write(_COMMIT.encode())
            script.stdout.close()
            with suppress(BrokenPipeError):
                loader.stdin.close()
            if loader.wait() != 0:
                raise ProgramFailed("Loading the dump", _read(loader_told))
            if script.wait() != 0:
                raise ProgramFailed("pg_restore", _read(script_told))

    def require_unused(self) -> None:
        """Raise NotRestorable while others are connected."""
        others = self.count_other_sessions()
        if others:
            raise NotRestorable(
                f"{others} other sessions are connected to the database. Stop the web server, the workers and beat "
                "first, or add --force if these sessions do no harm."
            )

    def _is_empty(self) -> bool:
        found = self._query("SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('public')")
        return found == ["0"]

    def _query(self, sql: str) -> list[str]:
        return self._run("psql", *_PSQL, "--no-align", "--tuples-only", f"--command={sql}").splitlines()

    def _run(self, name: str, *arguments: str | Path) -> str:
        with TemporaryFile() as told:
            program = self._start(name, *arguments, told=told)
            output, _ = program.communicate()
            if program.returncode != 0:
                raise ProgramFailed(name, _read(told))
        return output.decode()

    def _start(self, name: str, *arguments: str | Path, told: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.programs / name, *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
        )


def _find_programs(environ: Mapping[str, str]) -> Path:
    """A folder with the programs: PG_BIN, the wheel's, the system's newest, one of PATH."""
    named = [Path(environ["PG_BIN"])] if environ.get("PG_BIN") else []
    on_path = [Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in named or [*find_installations(), *on_path]:
        if all(os.access(folder / name, os.X_OK) for name in _PROGRAMS):
            return folder
    where = f"PG_BIN ({named[0]})" if named else "this machine"
    raise ProgramMissing(
        f"{' and '.join(_PROGRAMS)} are not on {where}. Install PostgreSQL's client programs, of the server's version "
        "or a later one, and name their folder in PG_BIN."
    )


def _describe_connection(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which libpq's programs find the database of DATABASE_URL, and nothing else about it."""
    try:
        parameters = parse_dsn(environ["DATABASE_URL"])
        variables = {_VARIABLES[name]: str(value) for name, value in parameters.items()}
    except KeyError as exc:
        known = exc.args[0] == "DATABASE_URL"
        raise SettingMissing(
            "DATABASE_URL is not set." if known else f"DATABASE_URL has a parameter that is not understood: {exc}"
        ) from exc
    except ProgrammingError:
        # the cause would show the address, and with it the password
        raise SettingMissing("DATABASE_URL is no address that PostgreSQL's programs understand.") from None
    return {**{name: environ[name] for name in _INHERITED if name in environ}, **variables, "LC_ALL": "C"}


def _read(told: IO[bytes]) -> str:
    told.seek(0)
    return told.read().decode(errors="replace")
