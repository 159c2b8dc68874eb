"""What can go wrong with a backup.

BackupError
├── SettingMissing     the environment does not say where PostgreSQL or vectordb is
├── ProgramMissing     no pg_dump, pg_restore and psql to run
├── ProgramFailed      one of them, or manage.py, ended with an error
├── FolderTaken        a backup is never written over another
├── BackupDamaged      the folder does not hold what was written
├── NotRestorable      it is whole, but not for here: another version, a database in use
└── VectorsFailed      vectordb does not answer, or refuses
"""

from __future__ import annotations


class BackupError(Exception):
    """The message is for the person at the terminal."""


class SettingMissing(BackupError):
    """The environment does not say where PostgreSQL or vectordb is."""


class ProgramMissing(BackupError):
    """No pg_dump, pg_restore and psql to run."""


class ProgramFailed(BackupError):
    """A program ended with an error. Bears the end of what it told."""

    def __init__(self, name: str, told: str) -> None:
        lines = told.strip().splitlines()[-10:]
        super().__init__("\n".join([f"{name} failed:", *(f"    {line}" for line in lines)]))


class FolderTaken(BackupError):
    """A backup is never written over another."""


class BackupDamaged(BackupError):
    """The folder does not hold what was written."""


class NotRestorable(BackupError):
    """It is whole, but not for here: another version, a database in use."""


class VectorsFailed(BackupError):
    """vectordb does not answer, or refuses."""
