"""A project whose bot knows three small documents, in a real vector database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import knowledge.composition
from knowledge import services
from knowledge.models import ContentType, Document
from knowledge.services import Draft
from teams.models import Project

Teach = Callable[..., Document]

RETRIES = """# Retries

A task that fails is retried with exponential backoff when `retry_backoff` is set.

```python
@app.task(autoretry_for=(Exception,), retry_backoff=True)
def fetch(url): ...
```
"""
QUEUES = "# Queues\n\nA task is routed to a queue by the setting `task_routes`, or by naming the queue in the call."
LIMITS = "# Time limits\n\nA task that runs longer than its soft time limit is told so by SoftTimeLimitExceeded."


@pytest.fixture
def teach(vectordb_server: object) -> Teach:
    """Teach a bot a document, indexed in this process."""

    def put(project: Project, title: str, content: str, **fields: object) -> Document:
        draft = Draft(title=title, content=content, content_type=ContentType.MARKDOWN, **fields)  # type: ignore[arg-type]
        document, _ = services.put_document(project=project, draft=draft, announce=False)
        knowledge.composition.indexer().index(document.pk)
        document.refresh_from_db()
        assert document.state == "indexed", document.error
        return document

    return put


@pytest.fixture
def taught(project: Project, teach: Teach) -> Project:
    teach(project, "Retrying tasks", RETRIES, source_url="https://example.com/retries")
    teach(project, "Routing tasks", QUEUES, source_url="https://example.com/queues")
    teach(project, "Limits", LIMITS)
    return project
