"""Celery's way to Valkey and Redis, mended where a connection that is lost would end the worker.

kombu 5.7 makes a client anew when a channel is used whose connection is closed: to acknowledge a task that outlived its
connection, or to put messages back. It then reads the address of a connection that is no more, and raises
AttributeError, which nobody expects there, and which ends the worker. What is expected is an error of the connection:
the message comes again, which is harmless here.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as ConnectionLost


class QoS(redis.QoS):  # type: ignore[misc]  # kombu has no types
    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Put back what is not acknowledged, where there is still somewhere to put it."""
        try:
            super().restore_unacked_once(stderr)  # type: ignore[no-untyped-call]
        except ConnectionLost:
            self._delivered.clear()


class Channel(redis.Channel):  # type: ignore[misc]  # kombu has no types
    QoS = QoS

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise ConnectionLost("The channel's connection is closed.")
        return super()._connparams(asynchronous)  # type: ignore[no-untyped-call]


def install() -> None:
    """Let every connection to Valkey or Redis in this process be made so."""
    redis.Transport.Channel = Channel
