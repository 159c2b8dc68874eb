"""The services: `Database` (libraries) and `Library` (documents, chunks, searches)."""

from vectordb.engine.database import Database
from vectordb.engine.library import Library
from vectordb.engine.results import Hit, HitScores
from vectordb.engine.writer import Written

__all__ = ["Database", "Hit", "HitScores", "Library", "Written"]
