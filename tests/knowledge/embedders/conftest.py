from __future__ import annotations

import pytest

from knowledge.embedders import MiniLMEmbedder, model_files
from knowledge.embedders.install import install


@pytest.fixture(scope="session")
def minilm() -> MiniLMEmbedder:
    install(model_files.default_models_dir())
    return MiniLMEmbedder()
