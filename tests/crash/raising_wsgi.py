"""The web application with publishing that raises inside on_commit, and with a callback of the same commit behind it.

`gunicorn … tests.crash.raising_wsgi:application`. A request is one transaction, as under ATOMIC_REQUESTS, so that the
callback is registered after the nudge's; it touches a file in LATER_CALLBACKS.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.db import transaction
from kombu.exceptions import OperationalError

from config import nudging
from config.wsgi import application as parley


def refuse(publish: Callable[[], object]) -> bool:
    raise OperationalError("no broker")


def note() -> None:
    (Path(os.environ["LATER_CALLBACKS"]) / uuid.uuid4().hex).touch()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    with transaction.atomic():
        response: Iterable[bytes] = parley(environ, start_response)
        transaction.on_commit(note)
    return response


nudging.nudger.submit = refuse  # type: ignore[method-assign]
