"""`python -m benchmarks`, which `make bench` calls: every benchmark that needs nothing from outside, on its own data.

Ends non-zero when one of them is below its gate. The others are told how to be run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parent / "data"
BENCHMARKS: tuple[tuple[str, ...], ...] = (
    ("benchmarks.embedder",),
    ("benchmarks.classifier_accuracy", str(DATA / "titles.jsonl")),
    ("benchmarks.team_categories",),
    ("benchmarks.threads", "--threads", "20000"),
    ("benchmarks.deletion", "--threads", "20000"),
    ("benchmarks.erasing", "--threads", "20000"),
    ("benchmarks.chat", "--quick"),
    ("benchmarks.chat_overhead", "--quick"),
    ("benchmarks.backfill", "--quick"),
    ("benchmarks.answers", str(DATA.parent.parent / "docs"), str(DATA / "docs_questions.jsonl")),
)
ELSEWHERE = "Not run: benchmarks.retrieval, which asks a running service about a judged collection (see its --help)."


def main() -> int:
    below = []
    for module, *arguments in BENCHMARKS:
        print(f"== {module}", flush=True)
        if subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode:
            below.append(module)
    print(ELSEWHERE)
    if below:
        print(f"Below their gates: {', '.join(below)}", file=sys.stderr)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
