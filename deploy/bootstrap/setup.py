"""Makes .venv, installs the locked packages, builds the local model: `python3 deploy/bootstrap/setup.py [--dev]`.

Standard library only, and written so that an older Python can still say what is missing. A bare Debian's python3 has
neither pip nor ensurepip, so a pip wheel lies beside this file; with it comes uv, and with uv everything else. Where uv
is not to be had, pip does the same more slowly. What is done is remembered in .venv: a second call costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST_PYTHON = (3, 11)
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".parley-setup.json"
PIP_WHEEL = HERE / "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
REQUIREMENTS = ("requirements.txt", "requirements-model.txt")
DEV_REQUIREMENTS = ("requirements-dev.txt",)


class SetupFailed(Exception):
    """The message is for the person at the terminal."""


def main(arguments: list[str]) -> int:
    started = time.monotonic()
    names = REQUIREMENTS + (DEV_REQUIREMENTS if "--dev" in arguments else ())
    try:
        require_python(sys.version_info[:2])
        is_changed = install_packages(names)
        is_changed |= build_model()
    except SetupFailed as error:
        print(f"\nCannot set up: {error}", file=sys.stderr)
        return 1
    if is_changed:
        print(f"Set up in {time.monotonic() - started:.1f} s.", flush=True)
    return 0


def require_python(version: tuple[int, ...]) -> None:
    if version < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        have = ".".join(map(str, version))
        raise SetupFailed(
            f"Parley needs Python {wanted} or newer; {sys.executable} is {have}. "
            f"Name a newer one: make PYTHON3=python{wanted} run"
        )


def install_packages(names: tuple[str, ...]) -> bool:
    """Install what changed since the last time; False when nothing did."""
    wanted = {name: hash_file(ROOT / name) for name in names}
    done = read_stamp()
    if PYTHON.exists() and wanted.items() <= done.items():
        return False
    make_venv()
    print(f"Installing {', '.join(names)} into .venv", flush=True)
    install(names)
    # one without the other is never stale: a changed lock takes its stamp from both
    write_stamp({**{name: done[name] for name in done if name not in wanted}, **wanted})
    return True


def build_model() -> bool:
    """Check the local model's weights and build its graph; False when that was done for this very code."""
    sources = sorted((ROOT / "knowledge" / "embedders").glob("*.py"))
    wanted = {"model": hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()}
    folder = Path(os.environ.get("PARLEY_MODELS_DIR") or ROOT / ".models")
    wanted["models_folder"] = str(folder)
    if wanted.items() <= read_stamp().items() and folder.is_dir() and any(folder.iterdir()):
        return False
    if subprocess.call([str(PYTHON), "-m", "knowledge.embedders.install"], cwd=ROOT) != 0:
        raise SetupFailed("the local model could not be built (see above).")
    write_stamp({**read_stamp(), **wanted})
    return True


def make_venv() -> None:
    """A virtual environment without pip, which a bare Debian could not give it. One that works is kept."""
    if is_new_enough(PYTHON):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    command = [sys.executable, "-m", "venv", "--without-pip", str(VENV)]
    if subprocess.call(command) != 0:
        raise SetupFailed(
            f"{sys.executable} cannot make a virtual environment; on Debian: apt-get install python3-venv"
        )


def is_new_enough(python: Path) -> bool:
    code = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON!r})"
    return python.exists() and subprocess.call([str(python), "-c", code]) == 0


def install(names: tuple[str, ...]) -> None:
    """With uv, or with pip where uv is not to be had or fails. Everything is pinned: nothing is resolved."""
    files = [part for name in names for part in ("-r", str(ROOT / name))]
    uv = find_uv()
    if uv is not None:
        command = [*uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", str(PYTHON), *files]
        # compiled once here, or else by every process of the first start at the same time
        settings = {"UV_PYTHON_DOWNLOADS": "never", "UV_COMPILE_BYTECODE": "1"}
        if subprocess.call(command, cwd=ROOT, env={**os.environ, **settings}) == 0:
            return
        print("uv did not manage; trying pip", flush=True)
    command = [*vendored_pip(), "install", "--quiet", "--no-deps", "--require-hashes", *files]
    if subprocess.call(command, cwd=ROOT) != 0:
        raise SetupFailed("the packages could not be installed (see above). Is the package index within reach?")


def find_uv() -> list[str] | None:
    """A uv that works: the system's, or one installed into .venv. None when there is none to be had."""
    own = VENV / "bin" / "uv"
    for candidate in filter(None, (shutil.which("uv"), str(own))):
        if works([candidate, "--version"]):
            return [candidate]
    lock = HERE / "requirements-uv.txt"
    command = [*vendored_pip(), "install", "--quiet", "--require-hashes", "-r", str(lock)]
    if subprocess.call(command, cwd=ROOT) == 0 and works([str(own), "--version"]):
        return [str(own)]
    return None


def works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def vendored_pip() -> list[str]:
    """pip, run straight from the wheel beside this file, which must be the one that was put there."""
    if hash_file(PIP_WHEEL) != PIP_SHA256:
        raise SetupFailed(f"{PIP_WHEEL} is not the file that belongs there.")
    return [str(PYTHON), str(PIP_WHEEL / "pip"), "--disable-pip-version-check", "--no-input"]


def hash_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SetupFailed(f"{path} cannot be read: {error.strerror}") from error


def read_stamp() -> dict[str, str]:
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, str]) -> None:
    unfinished = STAMP.with_name(STAMP.name + ".new")
    unfinished.write_text(json.dumps(stamp, indent=2) + "\n")
    unfinished.replace(STAMP)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
