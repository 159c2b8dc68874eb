"""Settings of this room that no process may start with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error

from knowledge.checks import check_endpoint, check_factory


def check_settings(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """An error for each setting that is not understood, naming it and never showing a value that may be a secret."""
    return [Error(fault, id="query.E001") for fault in _check_llm(settings.ENVIRONMENT)]


def _check_llm(environment: Any) -> Iterator[str]:
    if environment.llm == "openai":
        yield from check_endpoint("LLM", environment.llm_base_url, environment.llm_model, environment.llm_api_key)
    elif environment.llm != "quoting":
        yield from check_factory("LLM", environment.llm)
