"""Setting up from nothing, in a checkout with empty locks and a stand-in for the model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.bootstrap.setup import SetupFailed, require_python

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = """
from pathlib import Path
Path(".models/stand-in").mkdir(parents=True, exist_ok=True)
print("model built")
"""


@dataclass(frozen=True)
class Fresh:
    """A checkout that nothing was set up in."""

    root: Path

    def set_up(self, *arguments: str, uv: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the set-up with a PATH that holds python, and `uv` as this shell script when it is given."""
        programs = self.root / "programs"
        programs.mkdir(exist_ok=True)
        if uv is not None:
            (programs / "uv").write_text(f"#!/bin/sh\n{uv}\n")
            (programs / "uv").chmod(0o755)
        return subprocess.run(
            [sys.executable, str(self.root / "deploy/bootstrap/setup.py"), *arguments],
            env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(self.root), "PIP_NO_INDEX": "1"},
            capture_output=True,
            text=True,
        )

    @property
    def stamp(self) -> dict[str, str]:
        return json.loads((self.root / ".venv" / ".parley-setup.json").read_text())


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    shutil.copytree(REPOSITORY / "deploy" / "bootstrap", tmp_path / "deploy" / "bootstrap")
    for name in ("requirements.txt", "requirements-model.txt", "requirements-dev.txt"):
        (tmp_path / name).touch()
    embedders = tmp_path / "knowledge" / "embedders"
    embedders.mkdir(parents=True)
    (embedders / "install.py").write_text(MODEL)
    return Fresh(tmp_path)


def test_a_set_up_is_done_once(fresh: Fresh) -> None:
    first = fresh.set_up(uv="exit 0")
    assert first.returncode == 0, first.stderr
    assert "Installing requirements.txt, requirements-model.txt into .venv" in first.stdout
    assert "model built" in first.stdout
    second = fresh.set_up(uv="echo called; exit 1")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_what_tests_need_is_installed_only_when_asked_for(fresh: Fresh) -> None:
    fresh.set_up(uv="exit 0")
    assert "requirements-dev.txt" not in fresh.stamp
    assert "requirements-dev.txt" in fresh.set_up("--dev", uv="exit 0").stdout
    assert fresh.set_up(uv="exit 1").stdout == ""


def test_a_changed_lock_is_installed_and_a_lost_model_is_built_again(fresh: Fresh) -> None:
    fresh.set_up(uv="exit 0")
    (fresh.root / "requirements.txt").write_text("# changed\n")
    again = fresh.set_up(uv="exit 0")
    assert "Installing" in again.stdout
    assert "model built" not in again.stdout
    shutil.rmtree(fresh.root / ".models")
    assert "model built" in fresh.set_up(uv="exit 0").stdout


def test_where_uv_fails_the_vendored_pip_does_it(fresh: Fresh) -> None:
    done = fresh.set_up(uv='[ "$1" = --version ]')
    assert done.returncode == 0, done.stderr
    assert "uv did not manage; trying pip" in done.stdout
    assert fresh.stamp.keys() >= {"requirements.txt"}


def test_where_uv_is_not_to_be_had_the_vendored_pip_does_it(fresh: Fresh) -> None:
    done = fresh.set_up()
    assert done.returncode == 0, done.stderr
    assert fresh.stamp.keys() >= {"requirements.txt"}


def test_packages_that_cannot_be_installed_are_no_success(fresh: Fresh) -> None:
    (fresh.root / "requirements.txt").write_text(f"no-such-package==1 --hash=sha256:{'0' * 64}\n")
    failed = fresh.set_up(uv='[ "$1" = --version ]')
    assert failed.returncode == 1
    assert "the packages could not be installed" in failed.stderr
    assert not (fresh.root / ".venv" / ".parley-setup.json").exists()


def test_a_model_that_cannot_be_built_is_no_success(fresh: Fresh) -> None:
    (fresh.root / "knowledge" / "embedders" / "install.py").write_text("exit('the weights are not the expected ones')")
    failed = fresh.set_up(uv="exit 0")
    assert failed.returncode == 1
    assert "the local model could not be built" in failed.stderr


def test_a_vendored_pip_that_was_changed_is_not_run(fresh: Fresh) -> None:
    [wheel] = (fresh.root / "deploy" / "bootstrap").glob("pip-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    failed = fresh.set_up(uv='[ "$1" = --version ]')
    assert failed.returncode == 1
    assert "is not the file that belongs there" in failed.stderr


def test_an_environment_whose_python_is_gone_is_made_anew(fresh: Fresh) -> None:
    fresh.set_up(uv="exit 0")
    (fresh.root / ".venv" / "bin" / "python").unlink()
    assert fresh.set_up(uv="exit 0").returncode == 0
    assert os.access(fresh.root / ".venv" / "bin" / "python", os.X_OK)


def test_an_old_python_is_refused_with_a_way_out() -> None:
    with pytest.raises(
        SetupFailed, match=r"needs Python 3\.11 or newer; .* is 3\.10\. Name a newer one: make PYTHON3="
    ):
        require_python((3, 10))


@pytest.mark.parametrize(("extra", "lock"), [(None, "requirements.txt"), ("dev", "requirements-dev.txt")])
def test_every_dependency_is_locked_and_hashed(extra: str | None, lock: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    text = (REPOSITORY / lock).read_text()
    for requirement in wanted:
        name = re.split(r"[\[<>=~!; ]", requirement)[0]
        assert re.search(rf"^{re.escape(name)}(\[[a-z-]+\])?==\S+.*\\\n    --hash=sha256:", text, re.M), name
    assert "://" not in text
