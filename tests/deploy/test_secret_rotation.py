"""Secrets of a set of containers that are made anew, one at a time."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from config.environment import Environment
from deploy.container.__main__ import main
from deploy.container.rotation import KINDS, Kind, rotate
from deploy.container.secrets import FOLDERS, make_secrets, read_secrets
from insights.tokens import make_token, read_token


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    make_secrets(tmp_path)
    return tmp_path


def read(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_every_file_of_secrets_belongs_to_one_kind(folder: Path):
    belonging = [path for kind in KINDS.values() for path in (kind.path, *kind.made_of_it)]
    assert sorted(belonging) == sorted(read(folder))


@pytest.mark.parametrize("name", KINDS)
def test_one_secret_and_what_is_made_of_it_are_new_and_all_others_stay(folder: Path, name: str):
    kind, before = KINDS[name], read(folder)
    assert main(["secrets", "rotate", name, str(folder)]) == 0
    after = read(folder)
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {kind.path, *kind.made_of_it}
    assert {path: after[path] for path in after.keys() - before} == (
        {kind.former: before[kind.path]} if kind.former else {}
    )
    assert all(after[kind.path].strip() in after[path] for path in kind.made_of_it)
    modes = {path: stat.S_IMODE((folder / path).stat().st_mode) for path in after}
    assert {path for path, mode in modes.items() if mode != 0o400} == {"postgres/password", "rabbitmq/parley.conf"}

    assert main(["secrets", "rotate", name, str(folder)]) == 0
    if kind.former:
        former = [after[kind.path], before[kind.path]] if name == "secret-key" else [after[kind.path]]
        assert read(folder)[kind.former] == ",".join(former)
    assert main(["secrets", "forget", name, str(folder)]) == 0
    assert read(folder).keys() == before.keys()


@pytest.mark.parametrize("name", KINDS)
def test_killed_at_any_step_it_is_one_secret_everywhere_after_the_next_start(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    kind: Kind = KINDS[name]
    really_unlink, left = Path.unlink, 0

    def unlink(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        really_unlink(path, missing_ok=missing_ok)

    for steps in range(4 + len(kind.made_of_it)):
        left = steps
        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(Path, "unlink", unlink)
            rotate(folder, kind)
        make_secrets(folder)
        found = read(folder)
        assert not [path for path in found if "/." in path]
        assert all(found[kind.path].strip() in found[path] for path in kind.made_of_it)


def test_what_any_former_key_signed_still_counts_in_the_service(folder: Path, settings: Any):
    kind, links = KINDS["secret-key"], []
    for _ in range(3):
        settings.SECRET_KEY = read(folder)[kind.path]
        links.append((made := uuid4(), make_token(made)))
        rotate(folder, kind)
    found = read_secrets(folder / "service", os.environ | {"SECRET_KEY": "", "SECRET_KEY_FALLBACKS": ""})
    environment = Environment.model_validate({name.lower(): value for name, value in found.items()})
    settings.SECRET_KEY = environment.secret_key.get_secret_value()
    settings.SECRET_KEY_FALLBACKS = [key.get_secret_value() for key in environment.secret_key_fallbacks]
    assert [read_token(token) for _, token in links] == [made for made, _ in links]


def test_killed_before_the_new_one_is_made_it_is_no_former_one_twice(folder: Path):
    kind = KINDS["secret-key"]
    (folder / "service/SECRET_KEY_FALLBACKS").write_text(read(folder)[kind.path])
    rotate(folder, kind)
    assert "," not in read(folder)["service/SECRET_KEY_FALLBACKS"]


def test_what_is_no_secret_is_told_with_those_that_are(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["secrets", "rotate", "everything"]) == 2
    assert "broker-password" in capsys.readouterr().err
    assert main(["secrets", "rotate", "secret-key", "/nonexistent"]) == 1
    assert "/nonexistent" in capsys.readouterr().err
