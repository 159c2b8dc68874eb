"""The web application with publishing that raises inside on_commit, and with a callback of the same commit behind it.

`gunicorn … tests.crash.raising_wsgi:application`. A request is one transaction (ATOMIC_REQUESTS), so that a callback
can be registered after the nudge's; it makes a file in LATER_CALLBACKS.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connections, transaction
from kombu.exceptions import OperationalError

from config import nudging
from config.wsgi import application as application  # what gunicorn is told to serve
from query import services
from query.models import QuestionAnswer

answer_question = services.ask


def ask(**arguments: Any) -> QuestionAnswer:
    exchange = answer_question(**arguments)
    transaction.on_commit(note)
    return exchange


def note() -> None:
    (Path(os.environ["LATER_CALLBACKS"]) / uuid.uuid4().hex).touch()


def refuse(publish: Callable[[], object]) -> bool:
    raise OperationalError("no broker")


services.ask = ask
nudging.nudger.submit = refuse  # type: ignore[method-assign]
connections.settings["default"]["ATOMIC_REQUESTS"] = True
