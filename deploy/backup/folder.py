"""A backup on disk.

    <folder>/
        backup.json          what it holds, with a checksum of each file: Contents
        postgres.dump        the database, in pg_dump's custom format
        vectordb/            a snapshot of vectordb as it lies there; missing when vectordb was left out
            manifest.json    what it holds, with a checksum of each file
            000001.sqlite3   one library each

It is written as <folder>.unfinished, synced and renamed. All of it is its owner's alone (mode 600 and 700): it holds
what customers wrote.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.backup.errors import BackupDamaged, BackupError, FolderTaken

CONTENTS = "backup.json"
DUMP = "postgres.dump"
SNAPSHOT = "vectordb"
MANIFEST = "manifest.json"


class FileCopy(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    sha256: str


class Contents(BaseModel):
    """What a backup holds. `migrations` are those that the database has seen, as `app.name`."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    created_at: datetime
    server_version: str
    migrations: tuple[str, ...]
    snapshot_id: str | None
    files: dict[str, FileCopy]


@contextmanager
def new_backup(folder: Path) -> Iterator[Path]:
    """Give a folder to be filled; it is `folder` when the block ends, and gone when it raises. Raises FolderTaken."""
    if folder.exists():
        raise FolderTaken(f"{folder} is there already; name a new folder.")
    draft = folder.with_name(folder.name + ".unfinished")
    try:
        shutil.rmtree(draft, ignore_errors=True)  # of one that was killed
        draft.mkdir(mode=0o700, parents=True)
        yield draft
        for path in (*draft.rglob("*"), draft):
            path.chmod(0o700 if path.is_dir() else 0o600)
            _sync(path)
        draft.rename(folder)
        _sync(folder.parent)
    except OSError as exc:
        raise BackupError(f"The backup cannot be written: {exc.strerror}: {exc.filename}") from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def describe_files(folder: Path) -> dict[str, FileCopy]:
    """All files below `folder`, by their paths there."""
    return {
        path.relative_to(folder).as_posix(): FileCopy(size_bytes=path.stat().st_size, sha256=_hash(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_contents(folder: Path, contents: Contents) -> None:
    """Say what a backup holds whose other files are there."""
    (folder / CONTENTS).write_text(contents.model_dump_json(indent=2) + "\n")


def read_contents(folder: Path) -> Contents:
    """What a backup holds, every file of which is as it was written. Raises BackupDamaged."""
    try:
        contents = Contents.model_validate_json((folder / CONTENTS).read_bytes())
    except OSError as exc:
        raise BackupDamaged(f"{folder} is no backup: {CONTENTS} cannot be read: {exc.strerror}.") from exc
    except ValidationError as exc:
        raise BackupDamaged(f"{folder / CONTENTS} is damaged, or of another version of this program.") from exc
    for name, written in contents.files.items():
        path = folder / name
        if not path.is_file():
            raise BackupDamaged(f"{path} is missing.")
        if path.stat().st_size != written.size_bytes or _hash(path) != written.sha256:
            raise BackupDamaged(f"{path} is not what was written: its size or checksum differs.")
    return contents


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
