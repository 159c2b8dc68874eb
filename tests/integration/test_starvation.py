"""Labels do not wait behind documents: the workers that the runner starts share the queues so."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from deploy.local import services
from deploy.local.layout import Layout
from deploy.local.process import Command
from knowledge import tasks
from knowledge.models import Document
from query.models import Thread
from query.signals import thread_started
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.openai_server import running_openai_server

TIMEOUT_S = 30.0
HELD_S = 35.0  # longer than the label is waited for


def queues_of(command: Command) -> str:
    return command.argv[command.argv.index("-Q") + 1]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def test_every_queue_that_tasks_are_sent_to_is_consumed_by_one_kind_of_worker(tmp_path: Path):
    layout = Layout(tmp_path)
    workers = [services.worker(layout, {}), services.worker_ingest(layout, {}), services.worker_backfill(layout, {})]
    consumed = [queue for worker in workers for queue in queues_of(worker).split(",")]
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()} | {settings.CELERY_TASK_DEFAULT_QUEUE}
    assert len(consumed) == len(set(consumed))
    assert routed <= set(consumed)


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("vectordb_server")
def test_a_thread_is_labelled_while_every_process_that_indexes_is_held(
    celery_worker: Callable[..., Any], tmp_path: Path
):
    project = ProjectFactory()
    documents = [DocumentFactory(project=project) for _ in range(3)]
    layout = Layout(tmp_path)
    with running_openai_server("slow", delay_s=HELD_S) as provider:
        environment = {
            "CLASSIFIER": "dummy",
            "DUMMY_CLASSIFIER_SECONDS": "0.05",
            "EMBEDDER": "openai",
            "EMBEDDER_BASE_URL": provider.base_url,
            "EMBEDDER_MODEL": "m",
            "EMBEDDER_TIMEOUT_S": "40",
        }
        for worker in (services.worker(layout, {}), services.worker_ingest(layout, {})):
            celery_worker(queues=queues_of(worker), environment=environment)
        for document in documents:
            tasks.index_document.delay(str(document.pk))
        wait_until(lambda: provider.read_requests()["count"] > 0)

        thread = ThreadFactory(project=project)
        thread_started.send_robust(sender=Thread, thread_id=thread.pk)
        wait_until(Thread.objects.filter(pk=thread.pk, category_source="classifier").exists)
        assert not Document.objects.exclude(state="pending").exists()

        provider.set_mode("ok")
        wait_until(lambda: Document.objects.filter(state="indexed").count() == len(documents))
