"""What is said about the classifier before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from knowledge.checks import check_factory

HINT = "Name a class or a function that is called without arguments and gives a classifier."

DUMMY_IS_NO_CLASSIFIER = checks.Warning(
    "CLASSIFIER is `dummy`: threads get a category at random.",
    hint="Set CLASSIFIER=embedding, or to the dotted path of a classifier of your own.",
    id="categorisation.W001",
)


@checks.register("categorisation")
def check_classifier(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[checks.CheckMessage]:
    """A warning about the dummy; an error when CLASSIFIER is a path that leads nowhere."""
    name: str = settings.ENVIRONMENT.classifier
    if name == "dummy":
        return [DUMMY_IS_NO_CLASSIFIER]
    faults = check_factory("CLASSIFIER", name) if "." in name else ()
    return [checks.Error(fault, hint=HINT, id="categorisation.E001") for fault in faults]
