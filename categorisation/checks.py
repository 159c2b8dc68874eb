"""What is said about the classifier before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.utils.module_loading import import_string

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
    return _check_dotted_path(name) if "." in name else []


def _check_dotted_path(path: str) -> list[checks.CheckMessage]:
    try:
        found = import_string(path)
    except Exception as error:  # noqa: BLE001 - a module of someone else's may fail to import in any way
        return [_unusable(f"{path} cannot be imported ({type(error).__name__}: {error}).")]
    return [] if callable(found) else [_unusable(f"{path} is not a class or a function.")]


def _unusable(reason: str) -> checks.Error:
    hint = "Name a class or a function that is called without arguments and gives a classifier."
    return checks.Error(f"CLASSIFIER is not understood: {reason}", hint=hint, id="categorisation.E001")
