"""The Celery application: its queues, its delivery guarantees and its beat schedule stand in the settings."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("parley", task_cls="config.nudging:NudgingTask")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
