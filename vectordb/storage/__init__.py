"""Where libraries lie on disk: one folder with one SQLite file each, and the repositories that read and write it."""

from vectordb.storage.chunks import ChunkRow, NewChunk
from vectordb.storage.documents import DocumentRow
from vectordb.storage.folder import DataFolder
from vectordb.storage.libraries import LibraryRow
from vectordb.storage.library_file import LibraryFile, ReaderPool

__all__ = ["ChunkRow", "DataFolder", "DocumentRow", "LibraryFile", "LibraryRow", "NewChunk", "ReaderPool"]
