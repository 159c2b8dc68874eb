"""A stand-in checkout: the real runner, PostgreSQL and Valkey, and small programs where the applications would be.

The runner starts its children by `python -m NAME` in the checkout's folder, so modules that lie there are found first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.ports import find_free_port

REPOSITORY = Path(__file__).resolve().parents[2]
START = """
import sys; from pathlib import Path; from deploy.local.__main__ import main; sys.exit(main({argv}, Path({root!r})))
"""

SERVER = """
import http.server, json, os, sys
def serve(name, port):
    with open(f"{name}.env.json", "w") as file:
        json.dump(dict(os.environ), file)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    http.server.HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""
GUNICORN = "import sys, stand_in\nstand_in.serve('web', sys.argv[sys.argv.index('--bind') + 1].rpartition(':')[2])\n"
VECTORDB = "import sys, stand_in\nstand_in.serve('vectordb', sys.argv[sys.argv.index('--port') + 1])\n"
CELERY = """
import json, os, subprocess, sys, time, stand_in
from pathlib import Path
if "flower" in sys.argv:
    stand_in.serve("flower", next(a for a in sys.argv if a.startswith("--port=")).removeprefix("--port="))
if "beat" in sys.argv and Path("beat-crashes").exists():
    sys.exit("beat cannot read its schedule")
if "worker" in sys.argv:
    name = Path(os.environ["WORKER_READY_FILE"]).stem
    Path(f"{name}.env.json").write_text(json.dumps(dict(os.environ)))
    if name == "worker-ingest" and Path("ingest-crashes").exists():
        sys.exit("no memory for the model")
    if Path("workers-are-stubborn").exists():
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    Path(os.environ["WORKER_READY_FILE"]).touch()
time.sleep(300)
"""
MANAGE = """
import json, os, sys, time
with open("manage.calls", "a") as calls:
    calls.write(sys.argv[1] + "\\n")
if sys.argv[1] == "create_demo":
    demo = {"project_id": "11111111-1111-1111-1111-111111111111", "api_key": "parley_demo", "admin_email": "a@b.c"}
    while os.path.exists("ingest-crashes"):
        time.sleep(0.05)
    with open(sys.argv[sys.argv.index("--out") + 1], "w") as file:
        json.dump(demo | {"base_url": sys.argv[sys.argv.index("--base-url") + 1]}, file)
"""


@dataclass
class Run:
    """A runner process and what it says."""

    process: subprocess.Popen[bytes]
    output_path: Path

    @property
    def output(self) -> str:
        return self.output_path.read_text(errors="replace")

    def wait_for(self, text: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            assert self.process.poll() is None, f"the runner ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < deadline, f"{text!r} did not come:\n{self.output}"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT, timeout_s: float = 30.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=timeout_s)


@dataclass
class Checkout:
    """A folder that the runner takes for its checkout."""

    root: Path
    environment: dict[str, str]
    runs: list[Run]

    def run(self, *argv: str, environment: Mapping[str, str] | None = None) -> Run:
        output_path = self.root / f"output-{len(self.runs)}"
        with output_path.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", START.format(argv=list(argv) or ["run"], root=str(self.root))],
                cwd=REPOSITORY,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        run = Run(process, output_path)
        self.runs.append(run)
        return run

    def start(self, environment: Mapping[str, str] | None = None) -> Run:
        run = self.run(environment=environment)
        run.wait_for("Ctrl-C stops everything")
        return run

    def environment_of(self, child: str) -> dict[str, str]:
        return json.loads((self.root / f"{child}.env.json").read_text())

    def manage_calls(self) -> list[str]:
        path = self.root / "manage.calls"
        return path.read_text().split() if path.exists() else []

    def processes(self) -> list[str]:
        """The command lines of every process that has to do with this folder."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                cwd = str((folder / "cwd").readlink())
            except OSError:
                continue
            if str(self.root) in line or cwd.startswith(str(self.root)):
                found.append(f"{folder.name} {line}")
        return found

    def wait_until_nothing_runs(self, timeout_s: float = 25.0) -> None:
        deadline = time.monotonic() + timeout_s
        while left := self.processes():
            assert time.monotonic() < deadline, "\n".join(left)
            time.sleep(0.05)


def let_others_pass(tmp_path: Path) -> None:
    """PostgreSQL's account must get through pytest's private folders when root runs the tests."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest-", "popen-", "test_")):
            folder.chmod(folder.stat().st_mode | 0o111)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    let_others_pass(tmp_path)
    for name, text in {
        "stand_in.py": SERVER,
        "gunicorn.py": GUNICORN,
        "vectordb.py": VECTORDB,
        "celery.py": CELERY,
        "manage.py": MANAGE,
    }.items():
        (tmp_path / name).write_text(text)
    neighbours = {
        "DATABASE_URL",
        "CELERY_BROKER_URL",
        "VECTORDB_URL",
        "VECTORDB_API_KEY",
        "SECRET_KEY",
        "MAKELEVEL",
        "CLASSIFIER",
    }
    environment = {name: value for name, value in os.environ.items() if name not in neighbours}
    environment |= {name: str(find_free_port()) for name in ("PORT", "VECTORDB_PORT", "FLOWER_PORT")}
    made = Checkout(tmp_path, environment, [])
    yield made
    for run in made.runs:
        if run.process.poll() is None:
            run.stop(signal.SIGTERM)
    made.wait_until_nothing_runs()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    def wait(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait
