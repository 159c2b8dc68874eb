"""Looking into the broker's queues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError


def count_waiting(app: Celery, queue: str) -> int:
    """How many messages wait in a queue for somebody to take them; none in one that was not declared yet.

    Raises kombu's OperationalError when the broker does not answer.
    """
    if app.conf.task_always_eager:
        return 0
    # a connection of its own: one of the pool's on which this fails once fails for ever
    with app.connection_for_write() as connection:
        try:
            return int(connection.channel().queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
        except connection.connection_errors as error:
            raise OperationalError(str(error)) from error


def count_all_waiting(app: Celery, queues: Iterable[str], *, timeout_s: float) -> dict[str, int]:
    """The same for several queues, over one connection, each step of which is waited for so long at most.

    Raises whatever the transport does.
    """
    is_amqp = "amqp" in str(app.conf.broker_write_url).partition(":")[0]
    names = ("read_timeout", "write_timeout") if is_amqp else ("socket_connect_timeout", "socket_timeout")
    options: dict[str, Any] = {**dict.fromkeys(names, timeout_s), "max_retries": 0}
    with app.connection_for_write(connect_timeout=timeout_s, transport_options=options) as connection:
        return {queue: _count(connection, queue) for queue in queues}


def _count(connection: Any, queue: str) -> int:
    with connection.channel() as channel:  # over AMQP, to ask for a queue that is not there ends the channel
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
