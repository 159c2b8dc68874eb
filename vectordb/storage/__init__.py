"""Where libraries lie on disk: one folder with one SQLite file each, what reads and writes it, and copies of it."""

from vectordb.storage.chunks import ChunkRow, NewChunk
from vectordb.storage.copies import put_copy, write_copy
from vectordb.storage.documents import DocumentRow
from vectordb.storage.folder import DataFolder
from vectordb.storage.libraries import LibraryRow
from vectordb.storage.library_file import LibraryFile, ReaderPool
from vectordb.storage.replacement import Replacement
from vectordb.storage.snapshots import SnapshotFolder, write_manifest

__all__ = [
    "ChunkRow",
    "DataFolder",
    "DocumentRow",
    "LibraryFile",
    "LibraryRow",
    "NewChunk",
    "ReaderPool",
    "Replacement",
    "SnapshotFolder",
    "put_copy",
    "write_copy",
    "write_manifest",
]
