"""Which PostgreSQL is run, where, and under which account."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import dj_database_url
import pytest

from deploy.local import postgres
from deploy.local.errors import BinaryMissing, DataUnreachable
from deploy.local.postgres import Postgres
from tests.deploy.conftest import let_others_pass


@pytest.fixture
def unreachable(tmp_path: Path) -> Iterator[Path]:
    """A folder that only its owner can enter."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    return folder


def make_server(folder: Path) -> Postgres:
    return Postgres(folder / "bin", folder / "data", folder / "socket", folder / "log", user=None)


def test_pg_bin_is_taken_before_anything_else(tmp_path: Path) -> None:
    user = postgres.choose_user(tmp_path / "none")
    found = postgres.find_binaries({}, user)
    assert postgres.find_binaries({"PG_BIN": str(found)}, user) == found


def test_a_pg_bin_without_postgres_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissing, match=f"PG_BIN is {tmp_path}"):
        postgres.find_binaries({"PG_BIN": str(tmp_path)}, None)


def test_without_any_postgres_the_ways_out_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "find_installations", lambda: iter(()))
    with pytest.raises(BinaryMissing, match="PG_BIN, or name a running server in DATABASE_URL"):
        postgres.find_binaries({}, None)


def test_binaries_that_the_account_cannot_reach_are_copied_to_where_it_can(
    unreachable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = postgres.choose_user(tmp_path / "none")
    installed = next(postgres.find_installations()).parent
    package = unreachable / installed.parent.name
    shutil.copytree(installed / "bin", package / installed.name / "bin", symlinks=True, copy_function=os.link)
    shutil.copytree(installed / "share", package / installed.name / "share", symlinks=True, copy_function=os.link)
    monkeypatch.setattr(postgres, "find_installations", lambda: iter([package / installed.name / "bin"]))
    monkeypatch.setattr(postgres, "ROOTS_STATE_FOLDER", tmp_path / "state")
    let_others_pass(tmp_path)
    found = postgres.find_binaries({}, user)
    if user is None:  # not root: our own account reaches its own folder
        assert found == package / installed.name / "bin"
        return
    assert (tmp_path / "state") in found.parents
    assert postgres.find_binaries({}, user) == found


def test_data_that_the_account_cannot_reach_is_kept_elsewhere_behind_a_link(
    unreachable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ROOTS_STATE_FOLDER", tmp_path / "state")
    user = postgres.choose_user(tmp_path / "none")
    wanted = unreachable / "postgres"
    chosen = postgres.choose_data_folder(wanted, user)
    if user is None:
        assert chosen == wanted
        return
    assert wanted.resolve() == chosen
    assert (tmp_path / "state") in chosen.parents
    assert chosen.parent.stat().st_uid == user.uid
    assert postgres.choose_data_folder(wanted, user) == chosen
    shutil.rmtree(chosen.parent)
    again = postgres.choose_data_folder(wanted, user)
    assert again != chosen
    assert wanted.resolve() == again


def test_data_that_is_there_and_cannot_be_reached_is_left_alone_and_told(
    unreachable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ROOTS_STATE_FOLDER", tmp_path / "state")
    data = unreachable / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("17")
    user = postgres.ServiceUser(12345, 12345)
    if os.geteuid() != 0:  # only root runs the server under another account
        assert postgres.choose_data_folder(data, None) == data
        return
    with pytest.raises(DataUnreachable, match=rf"{data} cannot be run: .*\(uid 12345\) cannot enter {unreachable}"):
        postgres.choose_data_folder(data, user)
    assert (data / "PG_VERSION").read_text() == "17"


def test_a_state_folder_that_cannot_be_made_is_told(
    unreachable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setattr(postgres, "ROOTS_STATE_FOLDER", tmp_path / "state")
    if os.geteuid() != 0:
        assert postgres.choose_data_folder(unreachable / "postgres", None) == unreachable / "postgres"
        return
    with pytest.raises(DataUnreachable, match="No folder can be made"):
        postgres.choose_data_folder(unreachable / "postgres", postgres.ServiceUser(12345, 12345))


def test_data_that_is_there_is_run_by_its_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert postgres.choose_user(tmp_path) is None
        return
    os.chown(tmp_path, 12345, 12345)
    assert postgres.choose_user(tmp_path) == postgres.ServiceUser(12345, 12345)


def test_the_socket_folder_is_private_and_short() -> None:
    folder = postgres.make_socket_folder(None)
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(f"{folder}/.s.PGSQL.{postgres.PORT}.lock") < 100
    finally:
        folder.rmdir()


def test_a_pid_file_of_a_program_that_is_no_postgres_is_removed(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    server.data_folder.mkdir()
    pid_file = server.data_folder / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    command = server.command()
    assert command.before_start is not None
    command.before_start()
    assert not pid_file.exists()


@pytest.mark.parametrize(
    ("lines", "is_ready"), [(["1"] * 7 + ["ready   "], True), (["1"] * 7 + ["starting"], False), (["1"], False)]
)
def test_the_server_is_ready_when_its_pid_file_says_so(tmp_path: Path, lines: list[str], is_ready: bool) -> None:
    server = make_server(tmp_path)
    assert not server.is_ready()
    server.data_folder.mkdir()
    (server.data_folder / "postmaster.pid").write_text("\n".join(lines))
    assert server.is_ready() is is_ready


def test_only_throw_away_data_goes_without_fsync(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    assert "fsync=off" not in server.command().argv
    throw_away = Postgres(
        server.binaries, server.data_folder, server.socket_folder, server.log_path, None, is_durable=False
    )
    assert "fsync=off" in throw_away.command().argv


def test_what_customers_wrote_does_not_reach_the_log(tmp_path: Path) -> None:
    argv = make_server(tmp_path).command().argv
    assert {"log_min_error_statement=panic", "log_error_verbosity=terse"} <= set(argv)


def test_the_url_names_the_socket() -> None:
    parsed = dj_database_url.parse(postgres.socket_url(Path("/tmp/parley-0123abcd")))
    assert (parsed["HOST"], parsed["PORT"], parsed["USER"]) == ("/tmp/parley-0123abcd", postgres.PORT, postgres.ROLE)
