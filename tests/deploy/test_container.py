"""The image's roles and secrets."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.container.roles import UnknownRole, argv_of
from deploy.container.secrets import make_secrets, read_secrets

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
OURS = {name: each for name, each in COMPOSE["services"].items() if each["image"] == "parley"}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("service", "postgres", "rabbitmq")]
    for folder in made:
        folder.mkdir()
    return made


def test_secrets_are_made_once_and_never_changed(folders: list[Path]):
    assert make_secrets(*folders)
    before = {path: path.read_text() for folder in folders for path in folder.iterdir()}
    assert not make_secrets(*folders)
    assert before == {path: path.read_text() for folder in folders for path in folder.iterdir()}


def test_each_neighbour_has_the_password_that_the_service_uses(folders: list[Path]):
    make_secrets(*folders)
    service, postgres, rabbitmq = folders
    found = read_secrets(service, {})
    assert found["DATABASE_URL"] == f"postgresql://parley:{(postgres / 'password').read_text()}@postgres:5432/parley"
    broker_password = (rabbitmq / "password").read_text()
    assert found["CELERY_BROKER_URL"] == f"amqp://parley:{broker_password}@rabbitmq:5672//"
    assert f"default_pass = {broker_password}\n" in (rabbitmq / "20-parley.conf").read_text()
    assert len({found["SECRET_KEY"], found["VECTORDB_API_KEY"], broker_password}) == 3


def test_another_set_of_containers_has_other_secrets(folders: list[Path], tmp_path_factory: pytest.TempPathFactory):
    make_secrets(*folders)
    others = [tmp_path_factory.mktemp(name) for name in ("service", "postgres", "rabbitmq")]
    make_secrets(*others)
    assert read_secrets(folders[0], {}).items() & read_secrets(others[0], {}).items() == set()


def test_what_the_environment_names_wins_and_an_empty_name_does_not(folders: list[Path]):
    make_secrets(*folders)
    given = {"DATABASE_URL": "postgresql://elsewhere/x", "SECRET_KEY": "", "PATH": "/bin"}
    found = read_secrets(folders[0], given)
    assert found["DATABASE_URL"] == "postgresql://elsewhere/x"
    assert len(found["SECRET_KEY"]) > 40
    assert found["PATH"] == "/bin"


def test_secrets_cannot_be_written_by_who_reads_them(folders: list[Path]):
    make_secrets(*folders)
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o333 for folder in folders for path in folder.iterdir()}
    assert modes == {0}


@pytest.mark.parametrize("arguments", [[], ["cook"], ["secrets"], ["secrets", "/nonexistent/a", "b", "c"]])
def test_what_is_not_understood_is_told(arguments: list[str]):
    outcome = subprocess.run(
        [sys.executable, "-m", "deploy.container", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert outcome.returncode in (1, 2)
    assert outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_every_container_of_ours_is_a_role():
    for name, container in OURS.items():
        role, *rest = container["command"]
        if role != "secrets":
            assert argv_of(role, rest, os.environ), name


def test_a_count_that_is_none_is_refused():
    with pytest.raises(UnknownRole, match="INGEST_PROCESSES"):
        argv_of("worker-ingest", [], {"INGEST_PROCESSES": "many"})


def test_containers_of_ours_have_no_more_rights_than_they_need():
    for name, container in OURS.items():
        assert container["read_only"], name
        assert container["cap_drop"] == ["ALL"], name
        assert not {"privileged", "user"} & set(container), name


def test_nothing_but_the_service_is_published_beyond_this_machine():
    published = {
        name: port
        for name, container in COMPOSE["services"].items()
        for port in container.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }
    assert published == {"service": "${PORT:-8002}:8002"}


def test_no_secret_stands_in_the_files():
    for name in ("docker-compose.yaml", "Dockerfile"):
        text = (ROOT / name).read_text()
        assert "SECRET_KEY" not in text
        assert "PASSWORD:" not in text
