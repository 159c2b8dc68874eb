"""What searches find, before it is written as JSON."""

from dataclasses import dataclass

from vectordb.storage import ChunkRow


@dataclass(frozen=True, slots=True)
class HitScores:
    """The scores behind a joined one; `text` is None when no word of the question is in the chunk."""

    vector: float | None
    text: float | None


@dataclass(frozen=True, slots=True)
class Hit:
    """One result; a larger score is better."""

    chunk: ChunkRow
    score: float
    scores: HitScores | None = None
