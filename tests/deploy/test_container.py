"""The image's roles and secrets, and what the files that describe the containers promise."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml

from config.environment import Environment
from deploy.container.__main__ import main
from deploy.container.roles import UnknownRole, argv_of
from deploy.container.secrets import FOLDERS, hold, make_secrets, read_secrets
from deploy.local.services import WORKER_STOP_TIMEOUT_S

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"] == "parley"}
MADE_BY_SECRETS = {"SECRET_KEY", "DATABASE_URL", "CELERY_BROKER_URL", "VECTORDB_API_KEY", "METRICS_TOKEN"}
WEB_PROCESSES = 2  # deploy/gunicorn.py
NEVER_IN_CONTAINERS = {"DEBUG"}
MAKE_AND_BE_KILLED = """
import os, sys
from pathlib import Path
from deploy.container.secrets import make_secrets
files_left = int(sys.argv[2])
def fsync(descriptor):
    global files_left
    files_left -= 1
    if files_left < 0:
        os._exit(9)
os.fsync = fsync
os.getpid = lambda: 7
make_secrets(Path(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folders(tmp_path / "one")


def make_folders(folder: Path) -> Path:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_secrets_are_made_once_and_never_changed(folder: Path):
    assert make_secrets(folder)
    before = files(folder)
    assert not make_secrets(folder)
    assert files(folder) == before


def test_what_is_lost_of_them_comes_back_as_it_was(folder: Path):
    make_secrets(folder)
    before = files(folder)
    for name in ("postgres/password", "rabbitmq/parley.conf", "vectordb/VECTORDB_API_KEY", "service/DATABASE_URL"):
        (folder / name).unlink()
    assert make_secrets(folder)
    assert files(folder) == before


@pytest.mark.parametrize("files_before", [0, 4, 9])
def test_killed_while_it_writes_it_starts_again(folder: Path, monkeypatch: pytest.MonkeyPatch, files_before: int):
    """As the same process id, which in a container is every start's."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    argv = [sys.executable, "-c", MAKE_AND_BE_KILLED, str(folder), str(files_before)]
    assert subprocess.run(argv, cwd=ROOT).returncode == 9
    assert len(files(folder)) == files_before + 1  # a half, too
    assert not any("." in name for name in read_secrets(folder / "service", {}))
    assert main(["secrets", str(folder)]) == 0
    assert not [path for path in files(folder) if "/." in path]
    assert read_secrets(folder / "service", {}).keys() == MADE_BY_SECRETS


def test_one_process_at_a_time_changes_them(folder: Path, monkeypatch: pytest.MonkeyPatch):
    make_secrets(folder)
    before, lock, is_waiting = files(folder), fcntl.flock, Event()

    def wait(descriptor: int, operation: int) -> None:
        is_waiting.set()
        lock(descriptor, operation)

    changing = Thread(target=main, args=(["secrets", "rotate", "broker-password", str(folder)],), daemon=True)
    with hold(folder):
        monkeypatch.setattr(fcntl, "flock", wait)
        changing.start()
        assert is_waiting.wait(30)
        assert files(folder) == before
    changing.join(30)
    assert files(folder) != before


def test_each_neighbour_has_the_password_that_the_service_uses(folder: Path):
    make_secrets(folder)
    found, made = read_secrets(folder / "service", {}), files(folder)
    assert found.keys() == MADE_BY_SECRETS
    assert found["DATABASE_URL"] == f"postgresql://parley:{made['postgres/password']}@postgres:5432/parley"
    user, password, _ = made["rabbitmq/parley.conf"].splitlines()
    assert user == "default_user = parley"
    assert found["CELERY_BROKER_URL"] == f"amqp://parley:{password.partition(' = ')[2]}@rabbitmq:5672//"
    assert read_secrets(folder / "flower", {}) == {"CELERY_BROKER_URL": found["CELERY_BROKER_URL"]}
    assert read_secrets(folder / "vectordb", {}) == {
        "VECTORDB_API_KEY": found["VECTORDB_API_KEY"],
        "VECTORDB_METRICS_TOKEN": found["METRICS_TOKEN"],
    }
    assert len(found["SECRET_KEY"]) >= 50  # what Django asks of one


def test_rabbitmq_finds_nothing_but_configuration(folder: Path):
    make_secrets(folder)
    assert [path.name for path in (folder / "rabbitmq").iterdir()] == ["parley.conf"]


def test_another_set_of_containers_has_other_secrets(folder: Path, tmp_path: Path):
    make_secrets(folder)
    other = make_folders(tmp_path / "other")
    make_secrets(other)
    assert not set(files(folder).values()) & set(files(other).values())


def test_what_the_environment_names_wins_and_an_empty_name_does_not(folder: Path):
    make_secrets(folder)
    given = {"DATABASE_URL": "postgresql://elsewhere/x", "SECRET_KEY": "", "PATH": "/bin"}
    found = read_secrets(folder / "service", given)
    assert found["DATABASE_URL"] == "postgresql://elsewhere/x"
    assert len(found["SECRET_KEY"]) > 40
    assert found["PATH"] == "/bin"


def test_only_neighbours_under_other_accounts_have_files_that_others_may_read(folder: Path):
    before = os.umask(0o077)
    try:
        make_secrets(folder)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in files(folder)}
    foreign = {"postgres/password", "rabbitmq/parley.conf"}
    assert {name for name, mode in modes.items() if mode == 0o444} == foreign
    assert {mode for name, mode in modes.items() if name not in foreign} == {0o400}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "ROLE"),
        (["cook"], "There is no role cook"),
        (["secrets", "/nonexistent"], "writable"),
        (["worker-ingest"], "INGEST_PROCESSES must be"),
    ],
)
def test_what_is_not_understood_is_told(arguments: list[str], told: str):
    outcome = subprocess.run(
        [sys.executable, "-m", "deploy.container", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "INGEST_PROCESSES": "many"},
    )
    assert outcome.returncode in (1, 2)
    assert told in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_secrets_that_cannot_be_read_are_told():
    outcome = subprocess.run(
        [sys.executable, "-m", "deploy.container", "manage", "check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "SECRETS_DIR": "/nonexistent"},
    )
    assert outcome.returncode == 1
    assert "/nonexistent" in outcome.stderr


def test_one_container_builds_the_image_of_all_and_they_wait_for_it():
    """Compose builds side by side, and the second image of the same name is refused."""
    assert [name for name, each in SERVICES.items() if "build" in each] == ["secrets"]
    assert {each["pull_policy"] for each in OURS.values()} == {"never"}
    for name in OURS.keys() - {"secrets"}:
        assert "secrets" in waited_for_by(name), name


def waited_for_by(name: str) -> set[str]:
    """The containers before it, at any distance."""
    before = set(SERVICES[name].get("depends_on", {}))
    return before.union(*map(waited_for_by, before))


def test_every_container_of_ours_is_a_role():
    for name, container in OURS.items():
        role, *rest = container["command"]
        if role != "secrets":
            assert argv_of(role, rest, os.environ), name


def test_a_count_that_is_none_is_refused():
    with pytest.raises(UnknownRole, match="INGEST_PROCESSES"):
        argv_of("worker-ingest", [], {"INGEST_PROCESSES": "0"})


def test_every_queue_has_its_worker():
    consumed = [argv_of(each["command"][0], [], {}) for name, each in OURS.items() if "worker" in name]
    queues = [queue for argv in consumed for queue in argv[argv.index("-Q") + 1].split(",")]
    assert sorted(queues) == ["backfill", "ingest", "live", "mail"]


def test_containers_of_ours_have_no_more_rights_than_they_need():
    for name, container in OURS.items():
        assert container["read_only"], name
        assert container["cap_drop"] == ["ALL"], name
        assert not {"privileged", "user", "devices", "cap_add"} & set(container), name
    for name, container in SERVICES.items():
        assert container["security_opt"] == ["no-new-privileges:true"], name


def test_every_container_that_goes_on_tells_whether_it_is_well():
    assert [name for name, each in SERVICES.items() if "healthcheck" not in each] == ["secrets", "migrate"]


def test_workers_have_the_time_that_they_need_to_end():
    for name, container in OURS.items():
        assert int(container["stop_grace_period"].removesuffix("s")) > WORKER_STOP_TIMEOUT_S, name


def read_web_grace_s(**environ: str) -> int:
    """How long the web server lets answers under way go on, which is set where it is started."""
    program = "import runpy; print(runpy.run_path('deploy/gunicorn.py')['graceful_timeout'])"
    environment = {name: value for name, value in os.environ.items() if name != "LLM_TIMEOUT_S"} | environ
    return int(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, env=environment, text=True))


def test_answers_under_way_have_the_time_of_a_follow_up_which_asks_the_model_twice():
    grace_s = read_web_grace_s()
    assert grace_s >= 2 * Environment.model_fields["llm_timeout_s"].default + 20
    assert int(OURS["service"]["stop_grace_period"].removesuffix("s")) > grace_s
    assert read_web_grace_s(LLM_TIMEOUT_S="300.5") >= 2 * 300.5 + 20


def test_nothing_but_the_service_is_published_beyond_this_machine():
    published = {
        name: port
        for name, container in SERVICES.items()
        for port in container.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }
    assert published == {"service": "${BIND_HOST:-0.0.0.0}:${PORT:-8002}:8002"}


def test_images_of_others_are_pinned():
    for name, container in SERVICES.items():
        if name not in OURS:
            version = container["image"].partition(":")[2].removeprefix("v")
            assert version.count(".") >= 1, name


def test_every_setting_of_the_service_can_be_given_to_its_containers():
    named = set(OURS["service"]["environment"])
    settings = {name.upper() for name in Environment.model_fields} - NEVER_IN_CONTAINERS - MADE_BY_SECRETS
    assert settings - named == set(), "name them in docker-compose.yaml, under x-service"


def test_figures_are_kept_apart_from_what_fills_the_folder_of_temporary_files():
    place = re.search(r"METRICS_DIR=(\S+)", (ROOT / "Dockerfile").read_text())
    assert place
    assert place[1] == "/dev/shm"
    for name, container in OURS.items():
        assert "METRICS_DIR" not in container.get("environment", {}), name
        assert container["shm_size"] == "64m", name


def test_files_that_are_uploaded_at_once_have_room():
    defaults = {name: field.default for name, field in Environment.model_fields.items()}
    needed = WEB_PROCESSES * defaults["uploads_at_once"] * (defaults["max_pdf_size_bytes"] + 256 * 1024)
    (size_mib,) = re.findall(r"/tmp:size=(\d+)m", " ".join(OURS["service"]["tmpfs"]))
    assert needed * 2 < int(size_mib) * 1024 * 1024


def test_no_secret_stands_in_the_files():
    for container in SERVICES.values():
        for name, value in container.get("environment", {}).items():
            is_secret = name.endswith(("_KEY", "_TOKEN", "_PASSWORD", "_AUTH")) or name in MADE_BY_SECRETS
            assert not (is_secret and value), name
    text = (ROOT / "Dockerfile").read_text()
    assert not MADE_BY_SECRETS & set(text.replace("=", " ").split())


def test_the_image_has_every_room_and_nothing_that_is_not_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = set(project["tool"]["coverage"]["run"]["source"])
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    named = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert rooms <= named
    assert not {"tests", ".git", ".run", ".venv", ".models"} & named
