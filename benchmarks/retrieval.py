"""How well a project's documents are found: nDCG@10 of POST …/retrieval on a judged collection.

    python -m benchmarks.retrieval COLLECTION --demo .run/demo.json

COLLECTION is a folder in BEIR's layout: corpus.jsonl (_id, title, text), queries.jsonl (_id, text), qrels/test.tsv
(query-id, corpus-id, score). The running service is taught the corpus by POST …/documents (unchanged documents are not
embedded again, so a second run only asks), then asked every query. Exits non-zero below the gate.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

DEPTH = 10
LANES = 4


def main() -> int:
    arguments = read_arguments()
    demo = json.loads(arguments.demo.read_text())
    project = arguments.project or demo["project_id"]
    key = arguments.key or demo["api_key"]
    with httpx.Client(base_url=demo["base_url"], headers={"X-API-KEY": key}, timeout=60) as client:
        teach(client, project, arguments.collection / "corpus.jsonl")
        wait_until_indexed(client, project)
        ranked, latencies_ms = ask_all(client, project, arguments.collection / "queries.jsonl")
    judged = read_judgements(arguments.collection / "qrels" / "test.tsv")
    scores = [ndcg(ranked[query], judged[query]) for query in ranked if judged.get(query)]
    found = sum(scores) / len(scores)
    latencies_ms.sort()
    p50, p95 = (latencies_ms[int(len(latencies_ms) * share)] for share in (0.5, 0.95))
    print(f"nDCG@{DEPTH} {found:.3f} over {len(scores)} queries (gate {arguments.gate})")
    print(f"POST …/retrieval: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    return 0 if found >= arguments.gate else 1


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--demo", type=Path, default=Path(".run/demo.json"), help="what `make run` wrote")
    parser.add_argument("--project", help="another project than the demo's")
    parser.add_argument("--key", help="that project's key")
    parser.add_argument("--gate", type=float, default=0.46)
    return parser.parse_args()


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def teach(client: httpx.Client, project: str, corpus: Path) -> None:
    def put(row: dict[str, Any]) -> None:
        document = {
            "external_id": row["_id"],
            "title": row["title"] or row["_id"],
            "content": row["text"] or row["title"],
            "content_type": "text/plain",
        }
        client.post(f"/knowledge/v1/projects/{project}/documents/", json=document).raise_for_status()

    with ThreadPoolExecutor(LANES) as lanes:
        put_count = sum(1 for _ in lanes.map(put, read_rows(corpus)))
    print(f"{put_count} documents posted", file=sys.stderr)


def documents_of(client: httpx.Client, project: str) -> Iterator[dict[str, Any]]:
    url: str | None = f"/knowledge/v1/projects/{project}/documents/?page_size=500"
    while url:
        page = client.get(url).raise_for_status().json()
        yield from page["results"]
        url = page["next"]


def wait_until_indexed(client: httpx.Client, project: str) -> None:
    while True:
        states: dict[str, int] = defaultdict(int)
        for document in documents_of(client, project):
            states[document["state"]] += 1
        print(dict(states), file=sys.stderr)
        if not states["pending"]:
            return
        time.sleep(10)


def ask_all(client: httpx.Client, project: str, queries: Path) -> tuple[dict[str, list[str]], list[float]]:
    """For every query the external ids of the documents found, best first, each once; and how long each took."""
    external_ids = {document["id"]: document["external_id"] for document in documents_of(client, project)}
    ranked: dict[str, list[str]] = {}
    latencies_ms: list[float] = []
    for row in read_rows(queries):
        started = time.perf_counter()
        answer = client.post(
            f"/query/v1/projects/{project}/retrieval", json={"query": row["text"], "top_k": 2 * DEPTH}
        ).raise_for_status()
        latencies_ms.append((time.perf_counter() - started) * 1000)
        found = dict.fromkeys(external_ids[passage["document_id"]] for passage in answer.json()["results"])
        ranked[row["_id"]] = list(found)[:DEPTH]
    return ranked, latencies_ms


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        judged[query][document] = int(grade)
    return judged


def ndcg(ranked: Sequence[str], grades: Mapping[str, int]) -> float:
    """Normalised discounted cumulative gain at DEPTH (Järvelin and Kekäläinen 2002, with linear gains)."""
    ideal = sum(
        grade / math.log2(place + 2) for place, grade in enumerate(sorted(grades.values(), reverse=True)[:DEPTH])
    )
    if not ideal:
        return 0.0
    return sum(grades.get(document, 0) / math.log2(place + 2) for place, document in enumerate(ranked[:DEPTH])) / ideal


if __name__ == "__main__":
    sys.exit(main())
