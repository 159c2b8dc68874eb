"""vectordb's side: its snapshots, by its own client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.backup.errors import BackupDamaged, SettingMissing, VectorsFailed
from vectordb.client import Client, Conflict, NotFound, SnapshotDamaged, VectorDBError

TIMEOUT_S = 60.0


class Vectors:
    """The vectordb that the environment names: VECTORDB_URL, VECTORDB_API_KEY."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        url = environ.get("VECTORDB_URL")
        if not url:
            raise SettingMissing("VECTORDB_URL is not set; add --without-vectordb to leave vectordb out.")
        self._client = Client(url, api_key=environ.get("VECTORDB_API_KEY"), timeout_s=TIMEOUT_S)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def copy_to(self, folder: Path) -> str:
        """Write a snapshot as of now into `folder`, and leave none behind; return its id."""
        with _translated_errors():
            snapshot = self._client.snapshots.create()
            try:
                folder.mkdir(mode=0o700)
                self._client.snapshots.download(snapshot.id, folder)
            finally:
                self._client.snapshots.delete(snapshot.id)
        return snapshot.id

    def restore_from(self, folder: Path, snapshot_id: str) -> None:
        """Put the whole vectordb back to the snapshot in `folder`, and leave none behind."""
        with _translated_errors():
            with suppress(NotFound):  # of a restore that was cut off
                self._client.snapshots.delete(snapshot_id)
            self._client.snapshots.upload(folder)
            try:
                self._client.snapshots.restore(snapshot_id)
            finally:
                self._client.snapshots.delete(snapshot_id)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (SnapshotDamaged, Conflict) as exc:
        raise BackupDamaged(f"vectordb refuses the copy: {exc}") from exc
    except VectorDBError as exc:
        raise VectorsFailed(f"vectordb: {exc}") from exc
