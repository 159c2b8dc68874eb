"""Documents that keep a processor busy for long."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from teams.models import Project
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.fakes import TinyEmbedder

DOCUMENTS, SECTIONS = 200, 100
SECONDS_PER_TEXT = 0.005  # about what the local model takes


class BusyEmbedder(TinyEmbedder):
    """Computes for as long as a real one does."""

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        end = time.process_time() + SECONDS_PER_TEXT * len(texts)
        while time.process_time() < end:
            np.ones(1_000).sum()
        return super().embed_documents(texts)


def fill_library(project: Project) -> None:
    """Documents that wait for the sweeper: minutes of indexing."""
    paragraph = "The word stands in a sentence of this paragraph, which is as long as others are. " * 12
    content = "\n\n".join(f"## Section {number}\n\n{paragraph}" for number in range(SECTIONS))
    DocumentFactory.create_batch(DOCUMENTS, project=project, content=content)
