"""Looking into the broker's queues."""

from __future__ import annotations

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
