"""Settings of this room that no process may start with."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
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
    faults = [*_check_vectordb(environment), *_check_embedders(environment)]
    if environment.splitter != "headings":
        faults += check_factory("SPLITTER", environment.splitter)
    for content_type, dotted in environment.loaders.items():
        if content_type not in ContentType.values:
            faults.append(f"LOADERS: {content_type} is none of {', '.join(ContentType.values)}.")
        faults += check_factory(f"LOADERS, {content_type}", dotted)
    return [Error(fault, id="knowledge.E001") for fault in faults]


def refuse_to_start(checked: Sequence[CheckMessage]) -> None:
    """End the process with the errors among these, if there are any.

    Django runs its checks for management commands only, and Celery goes on in spite of them; a web server or a worker
    that cannot embed, answer or label must not take work either.
    """
    faults = [message for message in checked if message.is_serious()]
    if faults:
        lines = "\n".join(f"  {fault.msg}" for fault in faults)
        sys.exit(f"Parley cannot start: these settings are missing or not understood.\n{lines}")


def _check_vectordb(environment: Any) -> Iterator[str]:
    if not _is_http_url(environment.vectordb_url):
        yield "VECTORDB_URL: must be an http:// or https:// address."
    if not _is_header(environment.vectordb_api_key):
        yield "VECTORDB_API_KEY: must be printable ASCII."


def _check_embedder(setting: str, name: str, base_url: str | None, model: str | None, key: Any) -> Iterator[str]:
    if name == "openai":
        yield from check_endpoint(setting, base_url, model, key)
    elif name != "minilm":
        yield from check_factory(setting, name)


def _check_embedders(environment: Any) -> Iterator[str]:
    yield from _check_embedder(
        "EMBEDDER",
        environment.embedder,
        environment.embedder_base_url,
        environment.embedder_model,
        environment.embedder_api_key,
    )
    if environment.previous_embedder is not None:
        yield from _check_embedder(
            "PREVIOUS_EMBEDDER",
            environment.previous_embedder,
            environment.previous_embedder_base_url,
            environment.previous_embedder_model,
            environment.previous_embedder_api_key,
        )


def check_endpoint(setting: str, base_url: str | None, model: str | None, api_key: SecretStr | None) -> Iterator[str]:
    """The faults of the settings that name an OpenAI-compatible endpoint."""
    if not _is_http_url(base_url or ""):
        yield f"{setting}_BASE_URL: must be an http:// or https:// address when {setting} is openai."
    if not (model or "").strip():
        yield f"{setting}_MODEL: must name a model when {setting} is openai."
    if not _is_header(api_key):
        yield f"{setting}_API_KEY: must be printable ASCII."


def check_factory(setting: str, dotted: str) -> Iterator[str]:
    """The faults of a dotted path to what is called without arguments to make a part."""
    try:
        factory = import_string(dotted)
    except Exception as exc:  # noqa: BLE001 - whatever the module raises while it is imported, the setting is wrong
        yield f"{setting}: {dotted} cannot be imported ({type(exc).__name__}: {exc})."
        return
    if not callable(factory) or not _takes_no_arguments(factory):
        yield f"{setting}: {dotted} cannot be called without arguments to make one."


def _takes_no_arguments(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory).bind()
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature: the first call will tell
        return True
    return True


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


def _is_header(key: SecretStr | None) -> bool:
    text = key.get_secret_value() if key else ""
    return text.isascii() and (not text or text.isprintable())
