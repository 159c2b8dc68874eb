"""The Celery application: its queues, its delivery guarantees and its beat schedule stand in the settings."""

from __future__ import annotations

import os

from celery import Celery

from config import redis_transport, tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

redis_transport.install()
app = Celery("parley", task_cls="config.nudging:NudgingTask")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
tracing.follow_requests_into_tasks()
