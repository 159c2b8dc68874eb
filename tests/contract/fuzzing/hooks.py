"""What schemathesis loads in its own process. FUZZING_FEED names a file with what the campaign feeds it."""

from __future__ import annotations

import atexit
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import AllowHeaderMismatch, EnsureResourceAvailability, RejectedPositiveData

FEED = json.loads(Path(os.environ["FUZZING_FEED"]).read_text())
KEY_OF_ANOTHER_SCOPE = 0.1
UNSPEAKABLE = {(rule["attr"], rule["code"]) for rule in FEED["unspeakable"]}
answers: Counter[str] = Counter()
chance = random.Random(FEED["seed"])

if FEED["cursors"]:
    schemathesis.openapi.format("cursor", st.sampled_from(FEED["cursors"]))


@schemathesis.auth(refresh_interval=None)
class Keys:
    """The key with every scope, and now and then one with one scope."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        if FEED["keys"] and chance.random() < KEY_OF_ANOTHER_SCOPE:
            return str(chance.choice(FEED["keys"]))
        return str(FEED["key"])

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers["X-API-KEY"] = data


@schemathesis.hook
def after_call(context: Any, case: schemathesis.Case, response: schemathesis.Response) -> None:
    answers[f"{case.operation.label} {response.status_code}"] += 1


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: schemathesis.Case, response: schemathesis.Response) -> bool:
    """Let pass that valid data is refused for a rule that no schema can state."""
    if isinstance(failure, AllowHeaderMismatch):
        return case.operation.label not in FEED["ambiguous"]
    if isinstance(failure, EnsureResourceAvailability):
        return case.operation.label not in FEED["naming_others"]
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in (400, 415, 422):
        return True
    errors = response.json().get("errors", [])
    return not errors or not all(map(_is_unspeakable, errors))


def _is_unspeakable(error: dict[str, Any]) -> bool:
    """`examples.3` is any of the examples."""
    place = error["attr"] and ".".join("*" if part.isdigit() else part for part in error["attr"].split("."))
    return bool({(place, error["code"]), ("*", error["code"])} & UNSPEAKABLE)


@atexit.register
def tell() -> None:
    Path(FEED["answers"]).write_text(json.dumps(answers))
