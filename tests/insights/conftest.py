"""A real mail server that is there for all tests of a module, and empty for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.insights.postbox import Postbox


@pytest.fixture(scope="module")
def _started_postbox() -> Iterator[Postbox]:
    postbox = Postbox().start()
    yield postbox
    postbox.stop()


@pytest.fixture
def postbox(_started_postbox: Postbox, settings: Any) -> Postbox:
    """Empty, well-behaved, and what the settings name."""
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(
        update={
            "email_host": "127.0.0.1",
            "email_port": _started_postbox.port,
            "email_security": "none",
            "email_from": "Parley <parley@example.com>",
        }
    )
    _started_postbox.received.clear()
    _started_postbox.behaviours.clear()
    _started_postbox.connections = 0
    return _started_postbox
