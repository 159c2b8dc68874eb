"""A request's id goes with the messages that it sends, and stands in the lines of the tasks that come of it.

Workers and beat write the lines that the settings describe, and not Celery's.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from celery import Task
from celery.signals import before_task_publish, setup_logging, task_postrun, task_prerun

from observability import request_id

MESSAGE_HEADER = "request_id"
_tasks: dict[str, ExitStack] = {}  # those under way in this process, by their id


def follow_requests_into_tasks() -> None:
    """Listen to Celery's signals; to be called once in each process."""
    before_task_publish.connect(_send_along, weak=False)
    task_prerun.connect(_begin, weak=False)
    task_postrun.connect(_end, weak=False)
    setup_logging.connect(_leave_logging_alone, weak=False)


def _leave_logging_alone(**_: Any) -> None:
    """Celery leaves it to whoever listens to this signal; otherwise its --loglevel would win over LOG_LEVEL."""


def _send_along(headers: dict[str, Any], **_: Any) -> None:
    if (current := request_id.current()) != request_id.NONE:
        headers[MESSAGE_HEADER] = current


def _begin(task_id: str, task: Task, **_: Any) -> None:
    """A task of nobody's request goes by its own id."""
    sent = task.request.get(MESSAGE_HEADER) or (task.request.headers or {}).get(MESSAGE_HEADER)
    stack = _tasks[task_id] = ExitStack()
    stack.enter_context(request_id.serving(request_id.accept_or_make(sent or task_id)))


def _end(task_id: str, **_: Any) -> None:
    if (stack := _tasks.pop(task_id, None)) is not None:
        stack.close()
