"""How fast the local embedder is: `python -m benchmarks.embedder [TEXT_FILE ...]`.

Questions are embedded one at a time (wall-clock time); chunks of about 1,000 characters all at once (CPU time of this
process, so that a busy machine changes little). Without files, the chunks come from Python's own documentation strings.
"""

from __future__ import annotations

import argparse
import pydoc_data.topics
import resource
import time
from pathlib import Path

import numpy as np

from knowledge.embedders import MiniLMEmbedder

CHUNK_CHARACTERS = 1_000
CHUNKS = 400
QUESTIONS = 300
QUESTION_FORMS = (
    "How do I configure {}?",
    "What is the difference between {} and its successor?",
    "Why does {} fail after the update?",
    "Can {} be used from several processes at once, and what happens to those that wait?",
)


def read_chunks(paths: list[Path]) -> list[str]:
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    text = "\n".join(texts or pydoc_data.topics.topics.values())
    starts = range(0, len(text), CHUNK_CHARACTERS)
    return [text[start : start + CHUNK_CHARACTERS] for start in starts][:CHUNKS]


def measure_questions(embedder: MiniLMEmbedder) -> list[float]:
    """Milliseconds of each question."""
    subjects = sorted(pydoc_data.topics.topics)
    taken_ms = []
    for number in range(QUESTIONS):
        question = QUESTION_FORMS[number % len(QUESTION_FORMS)].format(subjects[number % len(subjects)])
        started = time.perf_counter()
        embedder.embed_query(question)
        taken_ms.append((time.perf_counter() - started) * 1e3)
    return taken_ms


def measure_chunks_per_cpu_second(embedder: MiniLMEmbedder, chunks: list[str]) -> float:
    started = time.process_time()
    embedder.embed_documents(chunks)
    return len(chunks) / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    chunks = read_chunks(parser.parse_args().files)
    embedder = MiniLMEmbedder()
    started = time.perf_counter()
    embedder.load()
    print(f"loading: {time.perf_counter() - started:.2f} s")
    embedder.embed_query("warm up")
    p50, p95 = np.percentile(measure_questions(embedder), [50, 95])
    print(f"questions, one at a time: p50 {p50:.1f} ms, p95 {p95:.1f} ms ({QUESTIONS} questions)")
    rate = measure_chunks_per_cpu_second(embedder, chunks)
    characters = sum(map(len, chunks)) / len(chunks)
    print(f"chunks: {rate:.1f} per CPU-second ({len(chunks)} chunks of {characters:.0f} characters)")
    print(f"memory at its peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
