"""A nudger's connection ends and hangs as connections do: a broker that is well loses no nudge, none waits long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery, Task

from config.nudging import Publisher
from tests.faults.brokers import Broker
from tests.faults.proxy import Behaviour, FaultyProxy

pytestmark = pytest.mark.broker


@pytest.fixture
def proxy(own_broker: Broker) -> Iterator[FaultyProxy]:
    with FaultyProxy(own_broker.address) as proxy:
        yield proxy


@pytest.fixture
def task(own_broker: Broker, proxy: FaultyProxy) -> Iterator[Task]:
    """One of an application whose broker stands behind the proxy."""
    with Celery("nudges", set_as_current=False) as app:
        # not `broker=`, which the environment's CELERY_BROKER_URL would outweigh
        app.conf.broker_read_url = app.conf.broker_write_url = own_broker.url_at(proxy.port)

        @app.task(name="nothing", shared=False)
        def do_nothing() -> None:
            return

        yield do_nothing
        proxy.behave("passing")
        with app.connection_for_write() as connection:
            connection.SimpleQueue("celery").clear()


def count_messages(task: Task) -> int:
    with task.app.connection_for_read() as connection:
        return int(connection.SimpleQueue("celery").qsize())


def test_a_connection_that_broke_while_nobody_nudged_costs_no_nudge(task: Task, proxy: FaultyProxy):
    publisher = Publisher()
    for _ in range(3):
        publisher.publish(task, ())
        proxy.cut()
    assert count_messages(task) == 3


@pytest.mark.parametrize("behaviour", ["mute", "dropping", "frozen", "refusing"])
def test_a_publisher_gives_up_on_a_broker_that_does_not_answer_and_finds_it_again(
    task: Task, proxy: FaultyProxy, behaviour: Behaviour
):
    publisher = Publisher()
    publisher.publish(task, ())
    proxy.behave(behaviour)
    with pytest.raises(Exception):  # noqa: B017, PT011 - transports raise kinds of their own
        publisher.publish(task, ())
    proxy.cut()
    proxy.behave("passing")
    publisher.publish(task, ())
    assert count_messages(task) >= 2
