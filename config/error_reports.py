"""What fails, told to the Sentry that the settings name: where and how, and nobody's texts.

Of what the SDK gathers only what is known to be harmless leaves the process: an event is built anew from the fields
named here. Without SENTRY_DSN the SDK is not even imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.environment import Environment
from observability import request_id
from observability.discretion import blank_secret_paths, is_harmless_kind
from observability.logs import TEXTS, without_texts

if TYPE_CHECKING:
    from sentry_sdk.types import Breadcrumb, BreadcrumbHint, Event, Hint

_OF_EVENTS = (
    *("event_id", "type", "timestamp", "start_timestamp", "level", "platform", "logger", "fingerprint"),
    *("transaction", "transaction_info", "server_name", "environment", "sdk"),
    *("exception", "threads", "breadcrumbs", "spans"),
)
_OF_EXCEPTIONS = ("type", "module", "stacktrace", "mechanism", "thread_id")
_OF_SPANS = (
    *("trace_id", "span_id", "parent_span_id", "start_timestamp", "timestamp"),
    *("op", "description", "status", "origin"),
)
_OF_BREADCRUMBS = ("type", "level", "category", "message", "timestamp")


def report_errors(environment: Environment) -> None:
    """Begin to report, in this process and those that are forked from it, if SENTRY_DSN is set."""
    if environment.sentry_dsn is None:
        return
    import sentry_sdk
    from sentry_sdk.integrations import logging as of_logging
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.threading import ThreadingIntegration

    rate, sends_texts = environment.sentry_traces_sample_rate, environment.sentry_send_texts
    if not sends_texts:
        of_logging.ignore_logger(TEXTS)
    sentry_sdk.init(
        dsn=environment.sentry_dsn.get_secret_value(),
        environment=environment.sentry_environment,
        # chosen one by one: the others look at command lines, bodies, prompts
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            DjangoIntegration(signals_spans=False),
            CeleryIntegration(),
            of_logging.LoggingIntegration(),
            ExcepthookIntegration(),
            ThreadingIntegration(),
            DedupeIntegration(),
            AtexitIntegration(callback=lambda pending, timeout: None),
        ],
        traces_sampler=lambda _: rate,  # whatever a caller's headers ask for
        send_default_pii=False,
        max_request_body_size="medium" if sends_texts else "never",
        include_local_variables=sends_texts,
        auto_session_tracking=False,
        before_send=None if sends_texts else keep_harmless,
        before_send_transaction=None if sends_texts else keep_harmless,
        before_breadcrumb=None if sends_texts else keep_harmless_breadcrumb,
    )


def keep_harmless(event: Event, hint: Hint) -> Event:
    """The event without bodies, queries, headers, variables, arguments, and messages that may quote a text.

    Of paths, too, the secret part is blanked.
    """
    given: dict[str, Any] = dict(event)
    kept = {name: given[name] for name in _OF_EVENTS if name in given}
    kept["tags"] = {"request_id": request_id.current()}
    kept["contexts"] = {"trace": _pick(given.get("contexts", {}).get("trace", {}), _OF_SPANS)}
    if "request" in given:
        request = given["request"]
        url = blank_secret_paths(str(request.get("url", "")).partition("?")[0])
        kept["request"] = {"method": request.get("method"), "url": url}
    if "transaction" in given:  # a route, or else the path
        kept["transaction"] = blank_secret_paths(str(given["transaction"]))
    if "exception" in given:
        kept["exception"] = {"values": [_keep_exception(each) for each in given["exception"]["values"]]}
    if "spans" in given:
        kept["spans"] = [_pick(span, _OF_SPANS) for span in given["spans"]]
    if (record := hint.get("log_record")) is not None:
        kept["logentry"] = {"formatted": without_texts(record).getMessage()}
    return kept  # type: ignore[return-value]


def keep_harmless_breadcrumb(crumb: Breadcrumb, hint: BreadcrumbHint) -> Breadcrumb | None:
    """A log line before the event, as it stands in the log; nothing else."""
    record = hint.get("log_record")
    if record is None:
        return None
    return {**_pick(crumb, _OF_BREADCRUMBS), "message": without_texts(record).getMessage()}


def _keep_exception(exception: dict[str, Any]) -> dict[str, Any]:
    kept = _pick(exception, _OF_EXCEPTIONS)
    if is_harmless_kind(exception.get("module") or "builtins", exception.get("type") or ""):
        kept["value"] = str(exception.get("value", "")).partition("\n")[0]
    return kept


def _pick(given: Any, names: Any) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}
