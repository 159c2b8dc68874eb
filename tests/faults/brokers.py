"""Brokers of a test's own, to be stopped, killed, frozen and alarmed without harm to the session's shared one.

`start_broker` gives one of the kind that CELERY_BROKER_URL names: a RabbitMQ for amqp://, otherwise a Valkey.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import redis
from kombu import Connection

from deploy.local import valkey
from deploy.local.ports import accepts, find_free_port
from deploy.local.process import Child, Command, Supervisor, wait_until_ready
from tests.faults.proxy import Address

START_TIMEOUT_S = 90.0
CONTROL_TIMEOUT_S = 30.0
RABBITMQ_PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # not the wrappers in /usr/sbin, which change the user


class Broker(ABC):
    """A broker process. `address` is where it listens; clients get `url`, or `url_at` a proxy before it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._child: Child | None = None

    @property
    @abstractmethod
    def address(self) -> Address: ...

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def url_at(self, port: int) -> str: ...

    @abstractmethod
    def command(self) -> Command: ...

    @abstractmethod
    def raise_alarm(self) -> None:
        """Let it take no more messages, as one does whose memory or disk is full."""

    @abstractmethod
    def clear_alarm(self) -> None: ...

    def start(self) -> None:
        self._child = self._supervisor.start(self.command())
        wait_until_ready(self._child, timeout_s=START_TIMEOUT_S)

    def stop(self) -> None:
        """In good order."""
        child, self._child = self._running, None
        self._supervisor.stop(child)

    def kill(self) -> None:
        """By SIGKILL, its children with it."""
        os.killpg(self._running.pid, signal.SIGKILL)
        self.stop()

    def freeze(self) -> None:
        os.killpg(self._running.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self._running.pid, signal.SIGCONT)

    def close(self) -> None:
        if self._child is not None:
            self.thaw()
            self.stop()

    @property
    def _running(self) -> Child:
        assert self._child is not None, "not started"
        return self._child


class OwnValkey(Broker):
    """Keeps nothing: what a killed one held is lost, so that whoever relies on it is found out."""

    def __init__(self, supervisor: Supervisor, folder: Path) -> None:
        super().__init__(supervisor)
        name = f"valkey-{secrets.token_hex(3)}"
        self._server = valkey.Valkey(
            binary=valkey.find_binary(os.environ),
            data_folder=folder / name,
            socket_path=folder / f"{name}.sock",
            log_path=folder / "log" / f"{name}.log",
            is_durable=False,
        )

    @property
    def address(self) -> Address:
        return self._server.socket_path

    @property
    def url(self) -> str:
        return valkey.socket_url(self._server.socket_path)

    def url_at(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"

    def command(self) -> Command:
        return self._server.command()

    def raise_alarm(self) -> None:
        self._limit_memory(1)

    def clear_alarm(self) -> None:
        self._limit_memory(0)

    def _limit_memory(self, size_bytes: int) -> None:
        # beyond the limit Valkey refuses writes, as its policy is "noeviction" unless told otherwise; 0 is no limit
        with redis.Redis(unix_socket_path=str(self._server.socket_path)) as client:
            client.config_set("maxmemory", size_bytes)


class OwnRabbitMQ(Broker):
    """A node of its own: its ports, its folder, its port mapper."""

    def __init__(self, supervisor: Supervisor, folder: Path) -> None:
        super().__init__(supervisor)
        self._folder = folder / f"rabbitmq-{secrets.token_hex(3)}"
        self._folder.mkdir()
        self._port = find_free_port()
        self._environment = _rabbitmq_environment(self._folder, self._port)

    @property
    def address(self) -> Address:
        return "127.0.0.1", self._port

    @property
    def url(self) -> str:
        return self.url_at(self._port)

    def url_at(self, port: int) -> str:
        return f"amqp://guest:guest@127.0.0.1:{port}//"

    def command(self) -> Command:
        return Command(
            name="rabbitmq",
            argv=(str(RABBITMQ_PROGRAMS / "rabbitmq-server"),),
            environment=self._environment,
            log_path=self._folder / "output",
            folder=self._folder,
            stage=1,
            is_ready=self._is_ready,
            stop_timeout_s=30.0,
        )

    def raise_alarm(self) -> None:
        self._control("set_vm_memory_high_watermark", "0")

    def clear_alarm(self) -> None:
        self._control("set_vm_memory_high_watermark", "0.4")

    def close(self) -> None:
        super().close()
        # the port mapper leaves its group; it ends on being asked, as nothing is registered any more
        deadline = time.monotonic() + CONTROL_TIMEOUT_S
        while accepts(int(self._environment["ERL_EPMD_PORT"])) and time.monotonic() < deadline:
            subprocess.run(["epmd", "-kill"], env=self._environment, capture_output=True, check=False)
            time.sleep(0.1)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        if not accepts(self._port):
            return False
        with contextlib.suppress(OSError), Connection(self.url_at(self._port), connect_timeout=2) as connection:
            connection.connect()
            return True
        return False

    def _control(self, *words: str) -> None:
        subprocess.run(
            [str(RABBITMQ_PROGRAMS / "rabbitmqctl"), *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=CONTROL_TIMEOUT_S,
        )


def start_broker(supervisor: Supervisor, folder: Path, environ: Mapping[str, str]) -> Broker:
    """A started one of the kind that the environment names; its owner closes it."""
    is_amqp = "amqp" in environ["CELERY_BROKER_URL"].partition(":")[0]
    broker: Broker = OwnRabbitMQ(supervisor, folder) if is_amqp else OwnValkey(supervisor, folder)
    broker.start()
    return broker


def _rabbitmq_environment(folder: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(folder),  # where the node's cookie is
        "ERL_EPMD_PORT": str(find_free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP": str(folder / "crash"),
        # an address and no name: a bare system may have no /etc/hosts to find "localhost" in
        "RABBITMQ_NODENAME": f"parley_{port}@127.0.0.1",
        "RABBITMQ_USE_LONGNAME": "true",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(find_free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
    }
