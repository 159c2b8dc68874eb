"""The services: `Database` (libraries), `Library` (documents, chunks, searches) and `Snapshots`."""

from vectordb.engine.database import Database
from vectordb.engine.library import Library, Load
from vectordb.engine.observing import Observer, Step
from vectordb.engine.results import Hit, HitScores
from vectordb.engine.snapshots import Snapshots
from vectordb.engine.writer import Written

__all__ = ["Database", "Hit", "HitScores", "Library", "Load", "Observer", "Snapshots", "Step", "Written"]
