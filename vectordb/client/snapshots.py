"""The calls on snapshots: `Client.snapshots`."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from vectordb.client.transport import Transport
from vectordb.client.wire import make_page_parameters, make_snapshot_path, read_answer, write_body
from vectordb.errors import SnapshotDamaged
from vectordb.schemas import Manifest, Snapshot, SnapshotPage, SnapshotRestored
from vectordb.schemas.snapshots import MANIFEST_FILE

LONG_TIMEOUT_S = 3_600.0
_PART_BYTES = 1024 * 1024


class SnapshotCalls:
    """Makes, lists, deletes, restores and carries snapshots. Errors are as `Client` has them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, *, timeout_s: float = LONG_TIMEOUT_S) -> Snapshot:
        """Make a snapshot of every library; returns when it is whole."""
        return read_answer(Snapshot, self._transport.write("POST", "/v1/snapshots", timeout_s=timeout_s))

    def list(self, *, limit: int = 100, cursor: str | None = None) -> SnapshotPage:
        """Return one page of snapshots, newest first."""
        parameters = make_page_parameters(limit, cursor)
        return read_answer(SnapshotPage, self._transport.read("GET", "/v1/snapshots", parameters=parameters))

    def iterate(self) -> Iterator[Snapshot]:
        """Yield all snapshots, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.list(cursor=cursor)
            yield from page.snapshots
            cursor = page.next_cursor
            if cursor is None:
                return

    def get(self, snapshot_id: str) -> Snapshot:
        """Return a snapshot. Raises NotFound."""
        return read_answer(Snapshot, self._transport.read("GET", make_snapshot_path(snapshot_id)))

    def delete(self, snapshot_id: str) -> None:
        """Delete a snapshot. Raises NotFound."""
        self._transport.write("DELETE", make_snapshot_path(snapshot_id))

    def restore(
        self, snapshot_id: str, *, libraries: Sequence[str] | None = None, timeout_s: float = LONG_TIMEOUT_S
    ) -> SnapshotRestored:
        """Put `libraries` back, or, without them, the whole database: what the snapshot does not hold is deleted.

        Raises NotFound; Conflict when the snapshot is damaged or a name is taken.
        """
        body = write_body({"libraries": None if libraries is None else [*libraries]})
        path = make_snapshot_path(snapshot_id, "restore")
        return read_answer(SnapshotRestored, self._transport.write("POST", path, content=body, timeout_s=timeout_s))

    def download(self, snapshot_id: str, folder: Path) -> Manifest:
        """Write the snapshot's files into `folder`, durably, the manifest last.

        Raises NotFound, SnapshotDamaged when a file that came is not the one, FileExistsError, OSError.
        """
        content = b"".join(self._transport.download(make_snapshot_path(snapshot_id, "files", MANIFEST_FILE)))
        manifest = read_answer(Manifest, content)
        for copy in manifest.libraries:
            parts = self._transport.download(make_snapshot_path(snapshot_id, "files", copy.file))
            if _write(folder / copy.file, parts) != copy.sha256:
                raise SnapshotDamaged(f'the file of library "{copy.id}" is not what was written: its checksum differs')
        _write(folder / MANIFEST_FILE, iter([content]))
        return manifest

    def upload(self, folder: Path) -> Snapshot:
        """Bring a snapshot that `download` wrote, under the id that it had.

        Raises SnapshotDamaged when it has no manifest; Conflict when it is there already, or a file is not the one.
        """
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
        except (OSError, ValidationError) as exc:
            raise SnapshotDamaged(f"the manifest in {folder} cannot be read") from exc
        for copy in manifest.libraries:
            self._transport.upload(make_snapshot_path(manifest.id, "files", copy.file), _read(folder / copy.file))
        body = manifest.model_dump_json().encode()
        content = self._transport.write("PUT", make_snapshot_path(manifest.id), content=body, timeout_s=LONG_TIMEOUT_S)
        return read_answer(Snapshot, content)


def _write(path: Path, parts: Iterator[bytes]) -> str:
    """Write a new private file, durably; return the SHA-256 (hex) of its content."""
    digest = hashlib.sha256()
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            yield part
