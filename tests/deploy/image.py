"""The image, built from the Dockerfile without a container engine: by buildah, on a Debian that debootstrap makes.

The real base is another Debian 12 with a Python of its own; what the Dockerfile does on top is the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("buildah", "debootstrap", "docker-compose", "rabbitmqctl")
DEBIAN = Path("/var/tmp/parley-debian-12")  # kept between runs: it takes a minute
PACKAGES = "python3,python3-venv,ca-certificates"
# where packages come from, and who vouches for it, is this machine's own affair
TRUSTED = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
BASE, NAME = "localhost/parley-base", "localhost/parley"


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its root file system, mounted, and what it says about itself."""

    root: Path
    config: dict[str, Any]
    size_bytes: int

    @property
    def environment(self) -> dict[str, str]:
        return dict(each.split("=", 1) for each in self.config["Env"])

    @property
    def user(self) -> str:
        """Numbers of the user and its group, as the image's own files have them."""
        lines = (line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines())
        return next(f"{fields[2]}:{fields[3]}" for fields in lines if fields[2] == self.config["User"])


class Builder:
    """Buildah with a store of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._options = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]

    def build(self, log: Path) -> Image:
        missing = [command for command in NEEDED if shutil.which(command) is None]
        assert not missing, f"apt-get install {' '.join(missing)} (rabbitmqctl: rabbitmq-server), as .ci/run does"
        base = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", base, str(make_debian()), "/")
        self._buildah("commit", "--quiet", base, BASE)
        self._buildah("rm", base)
        options = ["--isolation", "chroot", "--network", "host", "--pull-never", "--build-arg", f"BASE={BASE}"]
        with log.open("wb") as output:
            command = ["buildah", *self._options, "bud", *options, "--tag", NAME, str(ROOT)]
            outcome = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT)
        assert outcome.returncode == 0, log.read_text()[-5000:]
        described = json.loads(self._buildah("inspect", "--type", "image", NAME))
        mounted = self._buildah("mount", self._buildah("from", "--pull-never", NAME))
        size = subprocess.run(["du", "--summarize", "--bytes", mounted], capture_output=True, text=True, check=True)
        return Image(Path(mounted), described["OCIv1"]["config"], int(size.stdout.split()[0]))

    def delete(self) -> None:
        self._buildah("umount", "--all")
        self._buildah("rm", "--all")
        self._buildah("rmi", "--all", "--force")

    def _buildah(self, *arguments: str) -> str:
        outcome = subprocess.run(["buildah", *self._options, *arguments], capture_output=True, text=True)
        assert outcome.returncode == 0, f"buildah {arguments[0]}: {outcome.stderr}"
        return outcome.stdout.strip()


def unmount_below(folder: Path) -> None:
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in sorted(mounted, reverse=True):
        if path.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", path], capture_output=True)


def make_debian() -> Path:
    """A Debian 12 with Python, as the base image is one."""
    if not DEBIAN.exists():
        unfinished = DEBIAN.with_name(f"{DEBIAN.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(unfinished)]
        outcome = subprocess.run(command, capture_output=True, text=True)
        assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
        unfinished.rename(DEBIAN)
    for path in TRUSTED:
        if Path(path).exists():
            shutil.copyfile(path, DEBIAN / path.lstrip("/"))
    return DEBIAN
