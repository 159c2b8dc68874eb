"""What a Celery worker of several processes tells Prometheus: a real one, on a real broker."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from categorisation import tasks
from config.task_metrics import serve_figures
from deploy.local.ports import find_free_port
from knowledge.tasks import index_document
from tests.crash.conftest import logs_of
from tests.crash.service import WEB_ENVIRONMENT, Service, wait_until
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.observability.figures import Figures, scrape
from tests.observability.test_web_metrics import children_of
from tests.plugin import VectorDBServer, neighbours

pytestmark = [pytest.mark.broker, pytest.mark.django_db(transaction=True)]

CLASSIFY = "categorisation.tasks.classify_thread"
INDEX = "knowledge.tasks.index_document"


@pytest.fixture
def service(request: pytest.FixtureRequest, broker: str, vectordb_server: VectorDBServer) -> Iterator[Service]:
    environment = {"CLASSIFIER": "dummy", "DUMMY_CLASSIFIER_SECONDS": "0", "EMBEDDER": WEB_ENVIRONMENT["EMBEDDER"]}
    started = Service(neighbours, broker, environment, logs=logs_of(request))
    yield started
    started.close()


@pytest.mark.ci
def test_the_figures_of_a_workers_processes_add_up_and_outlive_one_that_is_killed(service: Service):
    port = find_free_port()
    worker = service.start_worker("live,ingest", concurrency=2, environment={"METRICS_PORT": str(port)})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        assert scrape(client).total("parley_tasks_total", state="failure") == 0
        project = ProjectFactory()
        threads = [ThreadFactory(project=project) for _ in range(5)]
        for thread in threads:
            tasks.classify_thread.delay(str(thread.pk))
        tasks.classify_thread.delay("no id")
        for document in (DocumentFactory(project=project), DocumentFactory(project=project, content="<p></p>")):
            index_document.delay(str(document.pk))
        wait_until(lambda: have_ended(scrape(client)), 30, "the tasks have ended")
        before = scrape(client)
        ended = before.total("parley_tasks_total", task=CLASSIFY)  # an earlier test's nudge may have come, too
        assert before.total("parley_tasks_total", task=CLASSIFY, state="failure") == 1
        assert before.total("parley_task_seconds_count", task=CLASSIFY) == ended
        assert before.total("parley_tasks_running") == before.total("parley_lanes_busy") == 0
        assert before.total("parley_classifications_total", outcome="labelled") == 5
        assert before.total("parley_classifier_call_seconds_count") >= 1
        assert before.total("parley_label_write_seconds_count") >= 1
        assert before.total("parley_documents_total", outcome="indexed") >= 1
        assert before.total("parley_indexing_step_seconds_count", step="embed") >= 1

        (victim, _) = children_of(worker.pid)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(set(children_of(worker.pid)) - {victim}) == 2, 20, "another one in its place")
        after = scrape(client)
        assert {key: value for key, value in before.counters.items() if after.counters.get(key, 0) < value} == {}
        for _ in range(4):
            tasks.classify_thread.delay(str(threads[0].pk))
        wait_until(lambda: scrape(client).total("parley_tasks_total", task=CLASSIFY) >= ended + 4, 30, "they count on")
        assert client.get("/").status_code == 404
        service.stop(worker)
    assert not list(Path("/tmp").glob(f"parley-metrics-{worker.pid}-*"))


def have_ended(figures: Figures) -> bool:
    """Windows and documents send tasks of their own; these six and two must be among those that have ended."""
    ended = {task: figures.total("parley_tasks_total", task=task) for task in (CLASSIFY, INDEX)}
    return ended[CLASSIFY] >= 6 and ended[INDEX] >= 2 and figures.total("parley_tasks_running") == 0


def test_a_worker_whose_port_is_taken_does_not_begin(settings: pytest.FixtureRequest):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"metrics_port": port})
        with pytest.raises(SystemExit, match=f"METRICS_PORT: cannot listen on port {port}: Address already in use"):
            serve_figures()
