"""Snapshots of a database: made while it is at work, and put back."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import apsw

from vectordb.engine.database import Database, Replaced
from vectordb.errors import Conflict, NotFound, SnapshotDamaged, Unavailable
from vectordb.schemas import LibraryCopy, Manifest, Snapshot
from vectordb.schemas.base import make_id
from vectordb.schemas.snapshots import MANIFEST_FORMAT
from vectordb.storage import SnapshotFolder, write_manifest
from vectordb.storage.tables import SCHEMA_VERSION

_RETRY_AFTER_S = 5


class Snapshots:
    """Makes, tells, deletes and restores snapshots, one at a time; who comes meanwhile gets Unavailable."""

    def __init__(self, database: Database, folder: SnapshotFolder) -> None:
        self._database = database
        self._folder = folder
        self._working = threading.Lock()
        self._is_closing = False

    def close(self) -> None:
        """End what is under way, after the library that it is at, and give the folder back."""
        self._is_closing = True
        with self._working:
            self._folder.close()

    def create(self) -> Snapshot:
        """Copy every library as it is at one moment of its own, while reads and writes go on.

        A library that is made or deleted meanwhile may be left out. Raises StorageFull, StorageFailed; no snapshot is
        there then.
        """
        with self._alone():
            snapshot_id, created_at = make_id(), datetime.now(UTC)
            with self._folder.new_snapshot(snapshot_id) as draft:
                manifest = Manifest(
                    format=MANIFEST_FORMAT,
                    id=snapshot_id,
                    created_at=created_at,
                    schema_version=SCHEMA_VERSION,
                    sqlite_version=apsw.sqlite_lib_version(),
                    libraries=tuple(self._copy_libraries(draft)),
                )
                write_manifest(draft, manifest)
        return _show(manifest)

    def list(self) -> list[Snapshot]:
        """Return all snapshots, newest first, damaged ones too."""
        found: list[Snapshot] = []
        for snapshot_id in self._folder.list_ids():
            try:
                found.append(self.get(snapshot_id))
            except NotFound:  # deleted meanwhile
                continue
        return sorted(found, key=lambda snapshot: (snapshot.created_at, snapshot.id), reverse=True)

    def get(self, id: str) -> Snapshot:
        """Return a snapshot. Raises NotFound."""
        try:
            return _show(self._folder.read_manifest(id))
        except SnapshotDamaged:
            since = self._folder.read_time(id)
            return Snapshot(id=id, state="damaged", created_at=since, size_bytes=0, libraries=())

    def delete(self, id: str) -> None:
        """Delete a snapshot for good. Raises NotFound, StorageFailed."""
        with self._alone():
            self._folder.delete(id)

    def restore(self, id: str, libraries: Sequence[str] | None) -> Replaced:
        """Put a snapshot back: `libraries` alone, or, with None, the whole database as it was.

        Raises NotFound for a snapshot, or a library, that is not there, SnapshotDamaged, Conflict for a snapshot of
        another version; and as `Database.replace_libraries` does.
        """
        with self._alone():
            manifest = self._folder.read_manifest(id)
            if manifest.schema_version != SCHEMA_VERSION:
                raise Conflict(
                    f"the snapshot has schema version {manifest.schema_version}; this program reads {SCHEMA_VERSION}"
                )
            copies = manifest.libraries if libraries is None else _choose(manifest, libraries)
            return self._database.replace_libraries(
                copies, self._folder.path_of(id), is_whole=libraries is None, go_on=self._require_open
            )

    def find_file(self, id: str, name: str) -> Path:
        """Return one of a snapshot's files, to be brought elsewhere. Raises NotFound."""
        return self._folder.find_file(id, name)

    def incoming_file(self, id: str, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a file to be filled, of a snapshot that is brought from elsewhere. Raises NotFound, StorageFull."""
        return self._folder.incoming_file(id, name)

    def complete(self, manifest: Manifest) -> Snapshot:
        """Take a snapshot for whole whose files were brought. Raises Conflict, SnapshotDamaged, StorageFull."""
        with self._alone():
            self._folder.complete(manifest)
        return _show(manifest)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._working.acquire(blocking=False):
            raise Unavailable("another snapshot is being made or restored; try again", retry_after_s=_RETRY_AFTER_S)
        try:
            self._require_open()
            yield
        finally:
            self._working.release()

    def _require_open(self) -> None:
        if self._is_closing:
            raise Unavailable("the server is stopping")

    def _copy_libraries(self, draft: Path) -> Iterator[LibraryCopy]:
        for number, library in enumerate(self._database.list_libraries(), start=1):
            self._require_open()
            target = draft / f"{number:06d}.sqlite3"
            try:
                yield library.copy_to(target)
            except NotFound:  # deleted meanwhile
                target.unlink(missing_ok=True)


def _choose(manifest: Manifest, wanted: Sequence[str]) -> list[LibraryCopy]:
    copies = {copy.id: copy for copy in manifest.libraries}
    for library_id in wanted:
        if library_id not in copies:
            raise NotFound(f'the snapshot holds no library "{library_id}"')
    return [copies[library_id] for library_id in dict.fromkeys(wanted)]


def _show(manifest: Manifest) -> Snapshot:
    return Snapshot(
        id=manifest.id,
        state="ready",
        created_at=manifest.created_at,
        size_bytes=manifest.size_bytes,
        libraries=manifest.libraries,
    )
