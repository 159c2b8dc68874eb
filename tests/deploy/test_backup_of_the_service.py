"""The whole service copied while it is at work, put back into empty neighbours, and asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.backup import __main__ as backup
from deploy.backup import postgresql
from tests.deploy.conftest import REPOSITORY
from tests.deploy.test_backup import Place, places

__all__ = ["places"]
pytestmark = pytest.mark.ci


@pytest.fixture
def service(places: tuple[Place, Place]) -> Place:
    """The first place, with the service's tables; the second has none."""
    for place in places:
        place.empty()
        place.environ |= {
            "EMBEDDER": "tests.knowledge.fakes.TinyEmbedder",
            "CLASSIFIER": "embedding",
            "CELERY_BROKER_URL": "memory://",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
    run(places[0], "manage.py", "migrate", "--no-input", "--verbosity=0")
    return places[0]


def run(place: Place, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, *argv], env=place.environ, cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def step(place: Place, *arguments: str) -> Any:
    return json.loads(run(place, "-m", "tests.deploy.asking", *arguments).splitlines()[-1])


def test_a_restored_pair_answers_as_the_original_did_although_it_was_copied_at_two_moments(
    service: Place, places: tuple[Place, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between vectordb's copy and PostgreSQL's, one document is replaced, one comes and one goes."""
    restored = places[1]
    asked = step(service, "fill")
    really_dump = postgresql.Server.dump

    def dump_later(server: postgresql.Server, target: Path) -> None:
        step(service, "change", *asked)
        really_dump(server, target)

    monkeypatch.setattr(postgresql.Server, "dump", dump_later)
    backup.create(tmp_path / "copy", service.environ)
    expected = step(service, "tell", *asked)
    assert [document["external_id"] for document in expected["documents"]] == ["0", "1", "3"]

    told = run(restored, "-m", "deploy.backup", "restore", str(tmp_path / "copy"))
    assert "2 documents lack chunks" in told
    assert "1 that no row knows (deleted)" in told
    step(restored, "work")
    assert step(restored, "tell", *asked) == expected  # with the key that the original gave
    assert "holds what the rows say" in run(restored, "manage.py", "reconcile", "--check")


def test_without_vectordbs_copy_everything_is_indexed_again(
    service: Place, places: tuple[Place, Place], tmp_path: Path
) -> None:
    restored = places[1]
    asked = step(service, "fill")
    run(service, "-m", "deploy.backup", "create", str(tmp_path / "copy"), "--without-vectordb")
    expected = step(service, "tell", *asked)
    assert "3 documents lack chunks" in run(restored, "-m", "deploy.backup", "restore", str(tmp_path / "copy"))
    step(restored, "work")
    assert step(restored, "tell", *asked) == expected
