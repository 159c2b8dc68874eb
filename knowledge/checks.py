"""Settings of this room that no process may start with."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string
from pydantic import SecretStr

from knowledge.models import ContentType


def check_settings(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[CheckMessage]:
    """An error for each setting that is not understood, naming it and never showing a value that may be a secret."""
    environment = settings.ENVIRONMENT
    faults = [*_check_vectordb(environment), *_check_embedder(environment)]
    if environment.splitter != "headings":
        faults += _check_factory("SPLITTER", environment.splitter)
    for content_type, dotted in environment.loaders.items():
        if content_type not in ContentType.values:
            faults.append(f"LOADERS: {content_type} is none of {', '.join(ContentType.values)}.")
        faults += _check_factory(f"LOADERS, {content_type}", dotted)
    return [Error(fault, id="knowledge.E001") for fault in faults]


def refuse_to_start_when_misconfigured() -> None:
    """End the process with the faults, if there are any.

    Django runs its checks for management commands only, and Celery goes on in spite of them; a web server or a worker
    that cannot embed must not take requests either.
    """
    faults = check_settings()
    if faults:
        lines = "\n".join(f"  {fault.msg}" for fault in faults)
        sys.exit(f"Parley cannot start: these settings are missing or not understood.\n{lines}")


def _check_vectordb(environment: Any) -> Iterator[str]:
    if not _is_http_url(environment.vectordb_url):
        yield "VECTORDB_URL: must be an http:// or https:// address."
    if not _is_header(environment.vectordb_api_key):
        yield "VECTORDB_API_KEY: must be printable ASCII."


def _check_embedder(environment: Any) -> Iterator[str]:
    if environment.embedder == "openai":
        if not _is_http_url(environment.embedder_base_url or ""):
            yield "EMBEDDER_BASE_URL: must be an http:// or https:// address when EMBEDDER is openai."
        if not (environment.embedder_model or "").strip():
            yield "EMBEDDER_MODEL: must name a model when EMBEDDER is openai."
        if not _is_header(environment.embedder_api_key):
            yield "EMBEDDER_API_KEY: must be printable ASCII."
    elif environment.embedder != "minilm":
        yield from _check_factory("EMBEDDER", environment.embedder)


def _check_factory(setting: str, dotted: str) -> Iterator[str]:
    try:
        factory = import_string(dotted)
    except Exception as exc:  # noqa: BLE001 - whatever the module raises while it is imported, the setting is wrong
        yield f"{setting}: {dotted} cannot be imported ({type(exc).__name__}: {exc})."
        return
    if not callable(factory):
        yield f"{setting}: {dotted} cannot be called to make one."


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


def _is_header(key: SecretStr | None) -> bool:
    text = key.get_secret_value() if key else ""
    return text.isascii() and (not text or text.isprintable())
