"""Parts of somebody else's that put what they are given into what they raise."""

from __future__ import annotations

from collections.abc import Sequence

from categorisation.classifiers import CategorySpec, Classification
from query.agent import Exchange, Prompt
from tests.knowledge.fakes import TinyEmbedder


class TalkativeLLM:
    """Fails, unless it is to answer one question."""

    def generate(self, prompt: Prompt) -> str:
        if "please answer" in prompt.question:
            return f"It is so: {prompt.sources[0].passages[0].content} [1]"
        try:
            raise KeyError(prompt.question)
        except KeyError as error:
            raise RuntimeError(f"cannot answer {prompt}") from error

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        raise ValueError(f"cannot rewrite {question!r} after {history!r}")


class TalkativeClassifier:
    version = "talkative"

    def classify(self, questions: Sequence[str], categories: Sequence[CategorySpec]) -> list[Classification]:
        raise ValueError(f"cannot classify {questions}")


class TalkativeEmbedder(TinyEmbedder):
    """Cannot take a document with a certain word."""

    def embed_documents(self, texts: Sequence[str]):  # type: ignore[no-untyped-def]
        if any("unbearable" in text for text in texts):
            raise ValueError(f"cannot embed {texts}")
        return super().embed_documents(texts)
