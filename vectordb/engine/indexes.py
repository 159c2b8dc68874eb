"""A library's two indexes, kept in step with its record."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vectordb.index import FlatIndex, Index, LexicalIndex, TextIndex
from vectordb.schemas.arrays import FloatArray, IdArray
from vectordb.schemas.base import Metric


@dataclass(slots=True)
class IndexChanges:
    """What one write changes in the indexes, once it is committed. A number is never added after it was removed."""

    vectors: dict[int, FloatArray] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)

    def remove(self, numbers: Iterable[int]) -> None:
        """Note that these chunks are gone."""
        for number in numbers:
            self.vectors.pop(number, None)
            self.texts.pop(number, None)
            self.removed.add(number)

    def merge(self, later: "IndexChanges") -> None:
        """Take in the changes of a later write."""
        self.remove(later.removed)
        self.vectors.update(later.vectors)
        self.texts.update(later.texts)


class LibraryIndexes:
    """The vectors and the words of a library's chunks, by number."""

    def __init__(self, dimension: int, metric: Metric) -> None:
        self.vectors: Index = FlatIndex(dimension, metric)
        self.words: TextIndex = LexicalIndex()

    def build(self, batches: Iterable[tuple[IdArray, FloatArray, list[str]]]) -> None:
        """Add everything that the record holds."""
        for numbers, vectors, texts in batches:
            self.vectors.add(numbers, vectors)
            self.words.add(numbers, texts)

    def apply(self, changes: IndexChanges) -> None:
        """Make committed changes visible to searches."""
        if changes.removed:
            removed = np.fromiter(changes.removed, dtype=np.int64)
            self.vectors.remove(removed)
            self.words.remove(removed)
        if changes.vectors:
            self.vectors.add(np.fromiter(changes.vectors, dtype=np.int64), np.stack(list(changes.vectors.values())))
        if changes.texts:
            self.words.add(np.fromiter(changes.texts, dtype=np.int64), list(changes.texts.values()))

    def memory_bytes(self) -> int:
        """Return the bytes of both."""
        return self.vectors.memory_bytes() + self.words.memory_bytes()
