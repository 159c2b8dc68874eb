"""The whole service as `make run` brings it up: from nothing to an answered, labelled question, and again."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.services import answers
from tests.deploy.conftest import REPOSITORY, Checkout

DEMO_KEYS = {"base_url", "project_id", "api_key", "vectordb_url", "vectordb_api_key"} | {
    f"admin_{name}" for name in ("url", "email", "password")
}
QUESTION = "How is a conversation labelled?"


@pytest.fixture
def real_checkout(checkout: Checkout) -> Checkout:
    """This repository's programs, with a `.run` folder of the test's own beside them."""
    for stand_in in checkout.root.glob("*.py"):
        stand_in.unlink()
    for path in REPOSITORY.iterdir():
        if not path.name.startswith("."):
            (checkout.root / path.name).symlink_to(path)
    return checkout


def ask(demo: dict[str, Any], method: str, path: str, **more: Any) -> Any:
    url = f"{demo['base_url']}/query/v1/projects/{demo['project_id']}/{path}"
    response = httpx.request(method, url, headers={"X-API-KEY": demo["api_key"]}, timeout=60, **more)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.ci
def test_from_nothing_to_an_answered_and_labelled_question_and_still_there_after_a_kill(
    real_checkout: Checkout, wait_until: Callable[..., None]
) -> None:
    first = real_checkout.run()
    first.wait_for("Ctrl-C stops everything", timeout_s=180)
    demo_file = real_checkout.root / ".run" / "demo.json"
    assert stat.S_IMODE(demo_file.stat().st_mode) == 0o600
    demo = json.loads(demo_file.read_text())
    assert demo.keys() == DEMO_KEYS

    answer = ask(demo, "POST", "chat", json={"question": QUESTION})
    assert answer["relevant_sources"]
    assert not answer["is_uncertain"]
    wait_until(lambda: ask(demo, "GET", "threads/")["results"][0]["category"] is not None, timeout_s=60)

    for url in (f"{demo['base_url']}/redoc", f"{demo['base_url']}/docs", f"{demo['base_url']}/admin/login/"):
        assert httpx.get(url, timeout=30).status_code == 200
    wait_until(lambda: answers(int(real_checkout.environment["FLOWER_PORT"]), "/workers"), timeout_s=60)
    assert httpx.get(f"{demo['vectordb_url']}/v1/libraries").status_code == 401
    libraries = httpx.get(f"{demo['vectordb_url']}/v1/libraries", headers={"X-API-KEY": demo["vectordb_api_key"]})
    assert len(libraries.json()["libraries"]) == 1

    # a body that a refused call left unread is not taken for the connection's next request
    with httpx.Client(base_url=demo["base_url"], timeout=30) as connection:
        for size, status in [(200_000, 404), (1_000_000, 413)] * 3:
            assert connection.post("/query/v1/projects/x/chat", content=b"x" * size).status_code == status
            assert connection.get("/healthz").status_code == 200

    assert not tracebacks(read_logs(real_checkout.root))
    first.stop(signal.SIGKILL)
    real_checkout.wait_until_nothing_runs()
    of_the_killed = read_logs(real_checkout.root)  # with what each wrote when it died a moment after its neighbour
    second = real_checkout.run()
    second.wait_for("Ctrl-C stops everything", timeout_s=120)
    assert "making the demo" not in second.output
    [thread] = ask(demo, "GET", "threads/")["results"]
    assert thread["id"] == answer["thread_id"]
    assert thread["category"] is not None
    assert ask(demo, "POST", "chat", json={"question": QUESTION})["answer"] == answer["answer"]
    assert second.stop() == 0
    assert real_checkout.processes() == []
    now = read_logs(real_checkout.root)
    assert not tracebacks({name: log.removeprefix(of_the_killed.get(name, "")) for name, log in now.items()})


def read_logs(root: Path) -> dict[str, str]:
    return {path.stem: path.read_text(errors="replace") for path in (root / ".run" / "log").glob("*.log")}


def tracebacks(logs: dict[str, str]) -> dict[str, str]:
    return {name: log for name, log in logs.items() if "Traceback" in log}
