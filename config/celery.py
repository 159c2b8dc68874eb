"""The Celery application: its queues, its delivery guarantees and its beat schedule stand in the settings."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_init

from config import redis_transport, task_metrics, tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

redis_transport.install()
app = Celery("parley", task_cls="config.nudging:NudgingTask")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
tracing.follow_requests_into_tasks()
task_metrics.count_tasks()


def bound_the_database(**_: object) -> None:
    """Before the first connection, in the worker's own process and so in its children. Beat and commands have none."""
    from config.database.bounds import OF_TASKS, bound

    bound(OF_TASKS)


worker_init.connect(bound_the_database, weak=False)
