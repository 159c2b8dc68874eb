"""`parley demo`: on an empty database, a team, a bot that reads the documentation, a key and an account; printed once.

Without it there is no account: `parley manage createsuperuser` makes the first one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

APP = Path(__file__).resolve().parents[2]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo.json"
        base_url = os.environ.get("PUBLIC_URL") or "http://localhost:8002"
        arguments = ["--docs", "docs", "--out", str(out), "--base-url", base_url, "--wait"]
        arguments += ["--vectordb-url", os.environ.get("VECTORDB_URL", "")]
        outcome = subprocess.run([sys.executable, "manage.py", "create_demo", *arguments], cwd=APP, stdout=sys.stderr)
        if out.exists():
            print(out.read_text(), end="")
    return outcome.returncode


if __name__ == "__main__":
    sys.exit(main())
