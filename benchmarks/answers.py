"""How well the bot answers from a folder of documents: `python -m benchmarks.answers DOCS_DIR QUESTIONS.jsonl`.

Each line of the questions is `{"kind": "covered" | "not covered" | "follow-up", "question": ..., "expect"?: a pattern
that the first cited document's path matches, "says"?: a pattern, or a list of them, that the answer's text matches (all
of them), "history"?: [earlier questions]}`. Printed are each question with its answer, its citation and the figures
that relevance was judged by, then a table. Everything runs in this process, offline: the splitter, the embedder, the
index of words, the fusion and the agent are the service's own, only storage is left out. Vectors are kept in `--cache`,
so that a second run is quick. Exits with 1 when fewer than 80 % of a kind are right.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.embedders import Embedder, MiniLMEmbedder
from knowledge.errors import DocumentUnreadable
from knowledge.loaders import LOADERS
from knowledge.splitter import HeadingSplitter, Piece
from query.agent import Answer, Exchange, HybridRetriever, Passage, QuotingLLM, RAGAgent, Retrieval
from query.agent.retriever import judge_relevance
from vectordb.engine.fusion import fuse_rankings
from vectordb.index.lexical import LexicalIndex

CONTENT_TYPES = {".md": "text/markdown", ".html": "text/html", ".txt": "text/plain", ".rst": "text/x-rst"}
FUSION_DEPTH = 100
BATCH = 256
GATE = 0.8
INDENT = "      "
_ESCAPE = re.compile(r"\\([\\`*_\[\]<])")


@dataclass(frozen=True, slots=True)
class Chunk:
    path: str
    piece: Piece


class MemorySearch:
    """ChunkSearch over arrays: exact cosine and BM25, joined by reciprocal rank."""

    def __init__(self, chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> None:
        self._chunks = chunks
        self._vectors = vectors
        self._words = LexicalIndex()
        self._words.add(np.arange(len(chunks), dtype=np.int64), [chunk.piece.content for chunk in chunks])

    def hybrid_search(self, embedding: NDArray[np.float32], text: str, k: int) -> list[Passage]:
        cosines = self._vectors @ embedding
        nearest = np.argsort(-cosines, kind="stable")[:FUSION_DEPTH].astype(np.int64)
        ids, _ = self._words.search(text, FUSION_DEPTH)
        joined, scores = fuse_rankings([nearest, ids[ids >= 0]])
        return [
            self._passage(int(id_), float(score), float(cosines[id_]))
            for id_, score in zip(joined[:k], scores[:k], strict=True)
        ]

    def _passage(self, number: int, score: float, cosine: float) -> Passage:
        chunk = self._chunks[number]
        return Passage(
            f"chunk-{number}", chunk.path, chunk.piece.title, chunk.path, chunk.piece.content, score, round(cosine, 4)
        )


class RememberingRetriever:
    """Passes on, and keeps the last retrieval for the report."""

    def __init__(self, inner: HybridRetriever) -> None:
        self._inner = inner
        self.last: Retrieval | None = None

    def retrieve(self, question: str, top_k: int, *, further_k: int = 0) -> Retrieval:
        self.last = self._inner.retrieve(question, top_k, further_k=further_k)
        return self.last


def read_chunks(folder: Path, excluded: str) -> list[Chunk]:
    splitter = HeadingSplitter()
    chunks = []
    for path in sorted(folder.rglob("*")):
        content_type = CONTENT_TYPES.get(path.suffix)
        relative = str(path.relative_to(folder))
        if content_type is None or not path.is_file() or (excluded and re.search(excluded, relative)):
            continue
        try:
            blocks = LOADERS[content_type].load(path.read_text(encoding="utf-8"))
        except DocumentUnreadable:
            continue
        title = next((block.text for block in blocks if block.kind == "heading"), path.stem)
        chunks += [Chunk(relative, piece) for piece in splitter.split(title, blocks)]
    return chunks


def embed_all(embedder: Embedder, texts: Sequence[str], cache: Path) -> NDArray[np.float32]:
    """Embed what the cache does not hold yet, and keep it there by the text's hash."""
    cache.mkdir(parents=True, exist_ok=True)
    store = cache / f"{re.sub(r'[^A-Za-z0-9.-]', '_', embedder.fingerprint)}.npz"
    known: dict[str, NDArray[np.float32]] = dict(np.load(store)) if store.exists() else {}
    keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    missing = [(key, text) for key, text in dict(zip(keys, texts, strict=True)).items() if key not in known]
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        print(f"embedding {start + len(batch)}/{len(missing)}", flush=True)
        vectors = embedder.embed_documents([text for _, text in batch])
        known.update({key: vector for (key, _), vector in zip(batch, vectors, strict=True)})
    if missing:
        np.savez(store, allow_pickle=False, **known)
    return np.stack([known[key] for key in keys])


def ask(agent: RAGAgent, row: dict[str, Any]) -> Answer:
    history: list[Exchange] = []
    for earlier in row.get("history", ()):
        answer = agent.answer(earlier, history)
        history.append(Exchange(answer.standalone_question, answer.text))
    return agent.answer(row["question"], history)


def is_right(row: dict[str, Any], answer: Answer) -> bool:
    """Whether a question is answered in the words that it needs, and one that the documents do not cover is refused.

    Where a row does not tell the words, the first document cited must be the expected one.
    """
    if row["kind"] == "not covered":
        return answer.is_uncertain
    cited = re.search(r"\[(\d+)\]", answer.text)
    if answer.is_uncertain or cited is None:
        return False
    if "says" in row:
        return says(row, answer.text)
    return re.search(row.get("expect", ""), answer.relevant_sources[int(cited[1]) - 1].source_url) is not None


def says(row: dict[str, Any], text: str) -> bool:
    """Whether a text, but for the sources that it only refers to, matches every pattern that an answer must match."""
    patterns = [row["says"]] if isinstance(row["says"], str) else row["says"]
    body = _ESCAPE.sub(r"\1", "\n".join(line for line in text.split("\n") if not line.startswith("See also **")))
    return all(re.search(pattern, body) for pattern in patterns)


def report(row: dict[str, Any], answer: Answer, retrieval: Retrieval, threshold: float, *, brief: bool) -> str:
    passages = retrieval.passages
    asked = answer.standalone_question
    relevance = judge_relevance(asked, passages, threshold)
    figures = (
        f"cosine {relevance.cosine:.3f}, required {relevance.required_cosine:.3f}"
        f", missing words {relevance.missing_share:.2f}"
    )
    lines = [f"{'ok ' if is_right(row, answer) else 'BAD'} [{row['kind']}] {row['question']}"]
    if asked != row["question"]:
        lines.append(f"as: {asked}")
    if "says" in row and not is_right(row, answer):
        holding = [passage for passage in passages if says(row, passage.content)]
        lines.append(f"passages that say it: {[f'{p.title}: {p.content.splitlines()[0]}' for p in holding] or 'none'}")
    lines += [figures, "answer: " + answer.text.split("\n")[0][:200] if brief else answer.text]
    lines += [f"[{number}] {source.source_url}" for number, source in enumerate(answer.relevant_sources, start=1)]
    return ("\n" + INDENT).join(line.replace("\n", "\n" + INDENT) for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "parley-answers")
    parser.add_argument("--exclude", default="", help="a pattern of paths to leave out")
    parser.add_argument("--top-k", type=int, default=8)
    parser.add_argument("--brief", action="store_true", help="the first line of each answer only")
    arguments = parser.parse_args()

    embedder = MiniLMEmbedder()
    chunks = read_chunks(arguments.docs, arguments.exclude)
    vectors = embed_all(embedder, [chunk.piece.embedding_text for chunk in chunks], arguments.cache)
    retriever = RememberingRetriever(HybridRetriever(embedder, MemorySearch(chunks, vectors)))
    agent = RAGAgent(retriever, QuotingLLM(), top_k=arguments.top_k)
    print(f"{len(chunks)} chunks of {len({chunk.path for chunk in chunks})} documents\n")

    right: dict[str, list[bool]] = {}
    for line in arguments.questions.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answer = ask(agent, row)
        assert retriever.last is not None
        right.setdefault(row["kind"], []).append(is_right(row, answer))
        print(report(row, answer, retriever.last, embedder.relevance_threshold, brief=arguments.brief) + "\n")
    for kind, outcomes in right.items():
        print(f"{kind:12} {sum(outcomes)} of {len(outcomes)} right")
    is_good = all(sum(outcomes) >= GATE * len(outcomes) for outcomes in right.values())
    print(f"gate: {GATE:.0%} of each kind: {'held' if is_good else 'MISSED'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
