"""The services: `Database` (libraries), `Library` (documents, chunks, searches) and `Snapshots`."""

from vectordb.engine.database import Database
from vectordb.engine.library import Library
from vectordb.engine.results import Hit, HitScores
from vectordb.engine.snapshots import Snapshots
from vectordb.engine.writer import Written

__all__ = ["Database", "Hit", "HitScores", "Library", "Snapshots", "Written"]
