"""The folder of snapshots.

    LOCK                held (flock) by the one process that uses the folder
    <id>/               one snapshot, there whole or not at all
        manifest.json   what it holds, with a checksum of each file: schemas.Manifest
        000001.sqlite3  one library each
    .new-<id>           a snapshot being made here, or brought file by file from elsewhere: swept at start
    .trash-<id>         a snapshot being deleted: swept at start

Nothing in a snapshot ever changes.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from vectordb.errors import Conflict, DataFolderRefused, NotFound, SnapshotDamaged
from vectordb.schemas.snapshots import COPY_FILE, MANIFEST_FILE, SNAPSHOT_ID, Manifest
from vectordb.storage.files import (
    PRIVATE_FOLDER,
    draft_of,
    erase_folder,
    hash_file,
    lock_folder,
    new_folder,
    open_new_file,
    publish_draft,
    retire_folder,
    sweep_folder,
    sync_file,
    translated_os_errors,
    write_file,
)

_ID = re.compile(SNAPSHOT_ID)
_FILE = re.compile(COPY_FILE)


class SnapshotFolder:
    """The snapshots on disk, locked for as long as this object is open."""

    def __init__(self, path: Path) -> None:
        """Make the folder when it is not there, lock it and sweep it. Raises DataFolderRefused."""
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            self._lock = lock_folder(path)
            sweep_folder(path)
        except OSError as exc:
            raise DataFolderRefused(f"the folder of snapshots {path} cannot be used: {exc.strerror}") from exc

    def close(self) -> None:
        """Give the lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def list_ids(self) -> list[str]:
        """Return the ids of all snapshots, damaged ones too. What else lies in the folder is passed over."""
        with translated_os_errors():
            return sorted(entry.name for entry in self._path.iterdir() if _ID.fullmatch(entry.name))

    def path_of(self, id: str) -> Path:
        """Return a snapshot's folder. Raises NotFound."""
        path = self._path / id
        if not _ID.fullmatch(id) or not path.is_dir():
            raise NotFound(f'there is no snapshot "{id}"')
        return path

    def read_manifest(self, id: str) -> Manifest:
        """Return what a snapshot holds. Raises NotFound; SnapshotDamaged when that cannot be, by the files' sizes."""
        path = self.path_of(id)
        try:
            manifest = Manifest.model_validate_json((path / MANIFEST_FILE).read_bytes())
        except (OSError, ValidationError) as exc:
            raise SnapshotDamaged(f'the manifest of snapshot "{id}" cannot be read') from exc
        for copy in manifest.libraries:
            file = path / copy.file
            if not file.is_file() or file.stat().st_size != copy.size_bytes:
                raise SnapshotDamaged(f'the file of library "{copy.id}" in snapshot "{id}" is missing or cut off')
        return manifest

    def read_time(self, id: str) -> datetime:
        """Return since when a snapshot's folder has been as it is. Raises NotFound."""
        with translated_os_errors():
            return datetime.fromtimestamp(self.path_of(id).stat().st_mtime, UTC)

    @contextmanager
    def new_snapshot(self, id: str) -> Iterator[Path]:
        """Give a folder to be filled: the snapshot is there, for good, when the block ends, and gone when it raises."""
        with translated_os_errors(), new_folder(self._path, id) as draft:
            yield draft

    def find_file(self, id: str, name: str) -> Path:
        """Return one of a snapshot's files. Raises NotFound."""
        path = self.path_of(id) / name
        if not (name == MANIFEST_FILE or _FILE.fullmatch(name)) or not path.is_file():
            raise NotFound(f'the snapshot has no file "{name}"')
        return path

    @contextmanager
    def incoming_file(self, id: str, name: str) -> Iterator[BinaryIO]:
        """Give a file to be filled, for a snapshot that is brought from elsewhere; it is kept when the block ends.

        One that was brought before is replaced. Raises NotFound for an id or a name that no snapshot has.
        """
        if not _ID.fullmatch(id) or not _FILE.fullmatch(name):
            raise NotFound(f'no snapshot has the id "{id}" and a file "{name}"')
        with translated_os_errors():
            draft = draft_of(self._path, id)
            draft.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            unfinished = draft / f"{name}.part"
            with open_new_file(unfinished) as file:
                yield file
            unfinished.replace(draft / name)

    def complete(self, manifest: Manifest) -> None:
        """Let a snapshot be there whose files were brought.

        Raises Conflict when it is there already; SnapshotDamaged when a file is missing, or not the one.
        """
        if (self._path / manifest.id).exists():
            raise Conflict(f'there is a snapshot "{manifest.id}" already')
        draft = draft_of(self._path, manifest.id)
        with translated_os_errors():
            draft.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            for copy in manifest.libraries:
                if not (draft / copy.file).is_file():
                    raise SnapshotDamaged(f'the file "{copy.file}" of library "{copy.id}" was not sent')
                if hash_file(draft / copy.file) != copy.sha256:
                    raise SnapshotDamaged(f'the file "{copy.file}" of library "{copy.id}" is not what was written')
                sync_file(draft / copy.file)
            for path in draft.iterdir():
                if path.name not in manifest.files:
                    path.unlink()
            write_manifest(draft, manifest)
            publish_draft(self._path, manifest.id)

    def delete(self, id: str) -> None:
        """Delete a snapshot for good. Raises NotFound, StorageFailed."""
        path = self.path_of(id)
        with translated_os_errors():
            erase_folder(retire_folder(path))


def write_manifest(draft: Path, manifest: Manifest) -> None:
    """Write the manifest of a snapshot whose other files are there."""
    with translated_os_errors():
        write_file(draft / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
