"""What every request passes before a view sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.request import RawPostDataException
from django.urls import is_valid_path

from config.errors import error_response
from observability import request_id
from teams.rates import Taken
from teams.throttling import ATTRIBUTE

DRAINED_BYTES = 64 * 1024
Handler = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Give every request an id, or take the one that a proxy gave it, and tell it to whoever asked."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request_id.accept_or_make(request.headers.get(request_id.HEADER))
        with request_id.serving(given):
            response = self._get_response(request)
        response[request_id.HEADER] = given
        return response


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
    """Refuse a body that is declared larger than any call accepts, before a byte of it is read."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
            return error_response(411, "length_required", "Send the body with a Content-Length.")
        declared = request.META.get("CONTENT_LENGTH") or "0"
        if not declared.isdigit():
            return error_response(400, "parse_error", "Content-Length is not a number.")
        if int(declared) > settings.MAX_REQUEST_SIZE_BYTES:
            limit = settings.MAX_REQUEST_SIZE_BYTES
            return error_response(413, "request_too_large", f"The body is larger than {limit} bytes.")
        response = self._get_response(request)
        _read_to_the_end(request)
        return response


def _read_to_the_end(request: HttpRequest) -> None:
    """Take what a refused call left unread of its body: it would be taken for the connection's next request."""
    with suppress(UnreadablePostError, RawPostDataException, ValueError):
        while request.read(DRAINED_BYTES):
            pass
