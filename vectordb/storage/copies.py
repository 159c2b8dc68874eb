"""A library as a single file: written from one that is in use, and put back in the place of one."""

from pathlib import Path

from vectordb.errors import SnapshotDamaged
from vectordb.schemas.snapshots import LibraryCopy
from vectordb.storage.connection import translated_errors
from vectordb.storage.files import copy_file, hash_file, sync_file, translated_os_errors, write_file
from vectordb.storage.folder import LIBRARY_FILE
from vectordb.storage.library_file import LibraryFile


def write_copy(file: LibraryFile, target: Path) -> LibraryCopy:
    """Write the library as it is at one moment to `target`, durably, and tell what that is; writers go on meanwhile.

    What was deleted is not in it. Raises StorageFull and StorageFailed, also when a page of the library is corrupt.
    """
    with translated_os_errors():
        write_file(target, b"")  # SQLite takes an empty file for a new one, and this one is private
    with translated_errors():
        file.connection.execute("VACUUM INTO ?", (str(target),))
    with translated_os_errors():
        sync_file(target)
        size_bytes, sha256 = target.stat().st_size, hash_file(target)
    copy = LibraryFile.open_copy(target)
    try:
        with translated_errors():
            row = copy.library.read()
            return LibraryCopy(
                id=row.id,
                name=row.name,
                dimension=row.dimension,
                metric=row.metric,
                log_position=copy.library.read_log_position(),
                documents=copy.documents.count(),
                chunks=copy.chunks.count(),
                file=target.name,
                size_bytes=size_bytes,
                sha256=sha256,
            )
    finally:
        copy.close()


def put_copy(copy: LibraryCopy, snapshot: Path, folder: Path) -> None:
    """Make the library's file in `folder` from its copy in `snapshot`. Raises SnapshotDamaged when it is another."""
    source = snapshot / copy.file
    if not source.is_file():
        raise SnapshotDamaged(f'the file of library "{copy.id}" is missing')
    with translated_os_errors():
        sha256 = copy_file(source, folder / LIBRARY_FILE)
    if sha256 != copy.sha256:
        raise SnapshotDamaged(f'the file of library "{copy.id}" is not what was written: its checksum differs')
