"""Our own indexes: of vectors (`FlatIndex`) and of words (`LexicalIndex`).

Each keeps an immutable state that a writer replaces whole by one assignment: a search takes it once, sees one
consistent moment, and never waits.
"""

from vectordb.index.flat import FlatIndex
from vectordb.index.lexical import LexicalIndex
from vectordb.index.protocol import Index, TextIndex

__all__ = ["FlatIndex", "Index", "LexicalIndex", "TextIndex"]
