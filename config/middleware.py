"""What every request passes before a view sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.request import RawPostDataException
from django.urls import is_valid_path

from config.bodies import find_limit_bytes, uploads
from config.errors import error_response, too_many_logins
from observability import metrics, request_id
from teams import audit
from teams.errors import TooManyLogins
from teams.rates import Taken
from teams.throttling import ATTRIBUTE

DRAINED_BYTES = 64 * 1024
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"  # unknown paths, static files, and what is refused before its path is looked at
MAX_DIGITS = 20  # a number of more is too large, too, and Python would refuse to read it
Handler = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Give every request an id, or take the one that a proxy gave it, and tell it to whoever asked."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request_id.accept_or_make(request.headers.get(request_id.HEADER))
        request.request_id = given  # type: ignore[attr-defined]  # Django's own line on it comes afterwards
        with request_id.serving(given):
            response = self._get_response(request)
        response[request_id.HEADER] = given
        return response


class MetricsMiddleware:
    """Count every request and measure it, a streamed one to its end."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        metrics.HTTP_REQUESTS_IN_FLIGHT.inc()
        try:
            response = self._get_response(request)
        except BaseException:
            metrics.HTTP_REQUESTS_IN_FLIGHT.dec()
            raise
        finish = partial(_count, _name_route(request), request.method, response.status_code, started)
        if response.streaming:
            response._resource_closers.append(finish)  # type: ignore[attr-defined]  # what Django closes with it
        else:
            finish()
        return response


def _name_route(request: HttpRequest) -> str:
    """The pattern that matched, never the path: there are as many paths as rows. The admin's pages count together."""
    match = request.resolver_match
    if match is None:
        return NO_ROUTE
    return "admin" if match.app_name == "admin" else match.route


def _count(route: str, method: str | None, status_code: int, started: float) -> None:
    method = method if method in KNOWN_METHODS else "other"
    metrics.HTTP_REQUESTS_IN_FLIGHT.dec()
    metrics.HTTP_REQUESTS.labels(route, method, f"{status_code // 100}xx").inc()
    metrics.HTTP_REQUEST_SECONDS.labels(route, method).observe(time.perf_counter() - started)


class RateLimitHeadersMiddleware:
    """Tell whoever called with a key how many calls are left (IETF draft "RateLimit header fields", as of -03)."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        taken: Taken | None = getattr(request, ATTRIBUTE, None)
        if taken is not None:
            response["RateLimit-Limit"] = str(taken.limit)
            response["RateLimit-Remaining"] = str(taken.remaining)
            response["RateLimit-Reset"] = str(taken.reset_s)
        return response


class AuditTrailMiddleware:
    """Let the audit trail find who sent a request, if the request changes anything that it records."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with audit.on_behalf_of(request):
            return self._get_response(request)


class OptionalTrailingSlashMiddleware:
    """Serve every path with and without its trailing slash, for every method, without a redirect."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_valid_path(request.path_info):
            other = request.path_info.removesuffix("/") if request.path_info.endswith("/") else request.path_info + "/"
            if is_valid_path(other):
                request.path_info = other
        return self._get_response(request)


class RequestSizeLimitMiddleware:
    """Refuse a body that the call does not accept, larger or compressed, before a byte of it is read."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
            return error_response(411, "length_required", "Send the body with a Content-Length.")
        declared = request.META.get("CONTENT_LENGTH") or "0"
        if not (declared.isascii() and declared.isdigit()):
            return error_response(400, "parse_error", "Content-Length is not a number.")
        size_bytes = int(declared[:MAX_DIGITS])
        limit = find_limit_bytes(request, size_bytes)
        if size_bytes > limit:
            return error_response(413, "request_too_large", f"The body is larger than {limit} bytes.")
        try:
            response = _refuse_compressed() if _is_compressed(request) else self._get_response(request)
        finally:
            uploads.end(request)
        _read_to_the_end(request)
        return response


def _is_compressed(request: HttpRequest) -> bool:
    return request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in ("", "identity")


def _refuse_compressed() -> HttpResponse:
    refusal = error_response(415, "unsupported_media_type", "Send the body as it is, not compressed.")
    refusal["Accept-Encoding"] = "identity"
    return refusal


class LoginLimitMiddleware:
    """Tell whoever tries too many passwords when to come back, whichever page's form it was."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return too_many_logins(request, exception) if isinstance(exception, TooManyLogins) else None


def _read_to_the_end(request: HttpRequest) -> None:
    """Take what a refused call left unread of its body: it would be taken for the connection's next request."""
    with suppress(UnreadablePostError, RawPostDataException, ValueError):
        while request.read(DRAINED_BYTES):
            pass
