"""The image and docker-compose.yaml, as far as they can be tried without a container engine: see tests/deploy/image.py
and tests/deploy/containers.py. Needs root, and what `.ci/run` installs.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller

from tests.deploy.containers import Stack, network_of_its_own
from tests.deploy.image import Builder, Image, unmount_below

pytestmark = pytest.mark.ci
SERVICE, FLOWER, VECTORDB = "http://127.0.0.1:8002", "http://127.0.0.1:5555", "http://127.0.0.1:8003"
QUESTION = "How is a conversation labelled?"
A_DAY_AGO = """
from datetime import timedelta
from django.db.models import F
from query.models import QuestionAnswer, Thread
for model in (Thread, QuestionAnswer):
    model.objects.update(created_at=F("created_at") - timedelta(days=1))
"""
WORKERS = ("service-worker", "service-worker-ingest", "service-worker-backfill")


class Postbox:
    """Takes whatever mail comes, in Mailpit's stead."""

    def __init__(self, received: list[Any]) -> None:
        self._received = received

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self._received.append(envelope)
        return "250 OK"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Beside pytest's own, which keeps what it made: an image is large, and other accounts must get in."""
    assert os.geteuid() == 0, "mounts and namespaces need root"
    made = Path(tempfile.mkdtemp(prefix="parley-image-", dir="/var/tmp"))
    made.chmod(0o711)
    yield made
    unmount_below(made)  # what a build that was interrupted left mounted
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def image(folder: Path) -> Iterator[Image]:
    builder = Builder(folder)
    yield builder.build(folder / "build.log")
    builder.delete()


@pytest.fixture(scope="module")
def mails() -> list[Any]:
    return []


@pytest.fixture(scope="module")
def stack(image: Image, folder: Path, mails: list[Any]) -> Iterator[Stack]:
    with network_of_its_own():
        started = Stack(image, folder)
        mailpit = Controller(Postbox(mails), hostname="127.0.0.1", port=1025)
        mailpit.start()
        try:
            started.start()
            yield started
        finally:
            started.close()
            mailpit.stop()


@pytest.fixture(scope="module")
def demo(stack: Stack) -> dict[str, Any]:
    outcome = stack.running["service"].execute("parley", "demo")
    assert outcome.returncode == 0, outcome.stderr
    made: dict[str, Any] = json.loads(outcome.stdout)
    return made


def ask(demo: dict[str, Any], method: str, path: str, **arguments: Any) -> Any:
    url = f"{SERVICE}/query/v1/projects/{demo['project_id']}/{path}"
    answer = httpx.request(method, url, headers={"X-API-KEY": demo["api_key"]}, timeout=60, **arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_image_runs_as_nobody_in_particular_and_names_no_secret(image: Image):
    assert image.config["User"] == "10001"
    assert not [name for name in image.environment if name.endswith(("KEY", "PASSWORD", "TOKEN", "_URL"))]
    assert not (image.root / "app" / "tests").exists()
    assert not list((image.root / "app").rglob(".env*"))
    print(f"\n  {image.size_bytes / 1e6:.0f} MB, the base included")  # noqa: T201


def test_every_container_starts_and_becomes_well(stack: Stack):
    assert set(stack.running) == set(stack.ours) - {"secrets", "migrate"}


def test_another_start_keeps_the_secrets(stack: Stack):
    assert "the secrets are there" in stack.run("secrets")


def test_the_service_is_ready_with_all_its_neighbours(stack: Stack):
    assert httpx.get(f"{SERVICE}/readyz", timeout=10).json() == {
        "status": "ok",
        "database": "ok",
        "broker": "ok",
        "vectordb": "ok",
    }


def test_a_question_is_answered_and_labelled(stack: Stack, demo: dict[str, Any]):
    answer = ask(demo, "POST", "chat", json={"question": QUESTION})
    assert not answer["is_uncertain"]
    assert answer["relevant_sources"]
    deadline = time.monotonic() + 30
    while ask(demo, "GET", f"threads/{answer['thread_id']}/")["category"] is None:
        assert time.monotonic() < deadline, stack.running["service-worker"].read_log()
        time.sleep(0.2)


def test_the_past_is_labelled_by_its_own_worker(stack: Stack, demo: dict[str, Any]):
    outcome = stack.running["service"].execute("parley", "manage", "backfill", "--wait")
    assert outcome.returncode == 0, outcome.stderr


def test_a_backup_is_made_and_whole(stack: Stack, demo: dict[str, Any]):
    for verb in ("create", "verify"):
        outcome = stack.running["service"].execute("parley", "backup", verb, "/backups/monday")
        assert outcome.returncode == 0, outcome.stderr
    assert "whole" in outcome.stdout
    assert "with vectordb" in outcome.stdout


def test_a_second_demo_is_refused(stack: Stack, demo: dict[str, Any]):
    outcome = stack.running["service"].execute("parley", "demo")
    assert "not empty" in outcome.stderr
    assert outcome.stdout == ""


def test_the_first_account_is_made_by_a_command(stack: Stack):
    made = stack.running["service"].execute(
        *("env", "DJANGO_SUPERUSER_PASSWORD=a password that is long", "parley", "manage", "createsuperuser"),
        *("--no-input", "--email", "ann@example.com"),
    )
    assert made.returncode == 0, made.stderr
    with httpx.Client(base_url=SERVICE, timeout=30) as browser:
        browser.get("/admin/login/")
        form = {"username": "ann@example.com", "password": "a password that is long", "next": "/admin/"}
        form["csrfmiddlewaretoken"] = browser.cookies["parley_csrf"]
        answer = browser.post("/admin/login/", data=form)
        assert (answer.status_code, answer.headers.get("location")) == (302, "/admin/")
        assert browser.get("/admin/").status_code == 200


def test_a_report_is_mailed_to_the_mail_catcher(stack: Stack, demo: dict[str, Any], mails: list[Any]):
    ask(demo, "POST", "chat", json={"question": "What was asked yesterday?"})
    service = stack.running["service"]
    moved = service.execute("parley", "manage", "shell", "--command", A_DAY_AGO)
    assert moved.returncode == 0, moved.stderr
    today = ("env", "REPORTS_DEFAULT_FREQUENCY=daily", "REPORTS_FROM_HOUR=0")
    sent = service.execute(*today, "parley", "manage", "send_reports")
    assert sent.returncode == 0, sent.stderr
    assert [envelope.rcpt_tos for envelope in mails] == [[demo["admin_email"]]], sent.stdout


def test_flower_sees_every_worker(stack: Stack):
    deadline = time.monotonic() + 30
    while not all(worker in httpx.get(f"{FLOWER}/workers", timeout=10).text for worker in WORKERS):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_vectordb_wants_its_key(stack: Stack):
    assert httpx.get(f"{VECTORDB}/v1/libraries", timeout=10).status_code == 401


def test_containers_run_as_who_they_should_and_can_write_nothing(stack: Stack):
    for name, container in stack.running.items():
        found = container.execute(
            "/bin/sh", "-c", "id -u; touch /app/x /venv/x /etc/x 2>&1; touch /tmp/x && echo written"
        )
        lines = found.stdout.splitlines()
        assert lines[0] == "10001", name
        assert len([line for line in lines if "Read-only file system" in line]) == 3, name
        assert lines[-1] == "written", name


def test_each_container_sees_its_own_secrets_alone(stack: Stack):
    def secrets_of(name: str) -> list[str]:
        found = stack.running[name].execute("/bin/sh", "-c", "cd $SECRETS_DIR && cat * >/dev/null && ls")
        return found.stdout.split()

    assert secrets_of("vectordb") == ["VECTORDB_API_KEY", "VECTORDB_METRICS_TOKEN"]
    assert secrets_of("flower") == ["CELERY_BROKER_URL"]
    assert "SECRET_KEY" in secrets_of("service")


def test_zz_everything_ends_in_its_time(stack: Stack, demo: dict[str, Any]):
    """The last one: nothing runs after it."""
    took = {name: stack.stop(name) for name in list(stack.running)}
    assert max(took.values()) < 35, took
    for name in took:
        log = (stack.folder / f"{name}.log").read_text(errors="replace")
        assert "Traceback" not in log, f"{name}:\n{log[-5000:]}"
