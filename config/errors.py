"""Where the rooms' errors become answers: one shape, one table."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.shortcuts import render
from django.views import defaults
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, UnsupportedMediaType, ValidationError
from rest_framework.response import Response

from categorisation.errors import CategorisationConflict, CategoryNotFound, DuplicateTitle, RunNotFound
from config.bodies import TooManyUploads
from knowledge.errors import (
    DocumentNotFound,
    DocumentTooLarge,
    DocumentUnreadable,
    EmbedderChanged,
    EmbedderUnavailable,
    FileKindUnsupported,
    ModelFilesInvalid,
    ReindexingNotFound,
    ReindexingRunning,
    VectorStoreUnavailable,
)
from observability import metrics
from query.errors import LLMUnavailable, ThreadNotFound
from teams.errors import TooManyLogins
from teams.models import Project

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5
MISCONFIGURED_RETRY_S = 60
UPLOADS_RETRY_S = 2
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FOREIGN_KEY_VIOLATION = "23503"


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class TooSlow(APIException):
    status_code = status.HTTP_408_REQUEST_TIMEOUT
    default_code = "request_timeout"
    default_detail = "The body did not come in time."


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.wait = retry_after_s  # DRF writes it as Retry-After


class ContractExceptionHandler(ExceptionHandler):  # type: ignore[misc]  # the package has no types
    """Translates what services raise; everything else is DRF's business."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        return super().convert_known_exceptions(translate(exc))  # type: ignore[no-any-return]

    def report_exception(self, exc: APIException, response: Response) -> None:
        """A neighbour that is down is told in one line; only what is our own fault with its traceback."""
        if isinstance(exc, Unavailable):
            logger.warning("answered 503: %s", self.exc)
            if (neighbour := name_neighbour(self.exc)) is not None:
                metrics.DEPENDENCY_FAILURES.labels(neighbour).inc()
            return
        super().report_exception(exc, response)


TRANSLATIONS: tuple[tuple[tuple[type[Exception], ...], Callable[[Any], Exception]], ...] = (
    (
        (EmbedderChanged,),  # which settings, and where they point, is the operator's business: it stands in the log
        lambda error: Unavailable(
            "The bot's documents have to be indexed again before it can answer.", error.retry_after_s
        ),
    ),
    (
        (EmbedderUnavailable, VectorStoreUnavailable, LLMUnavailable),
        lambda error: Unavailable(f"{error} Try again shortly.", error.retry_after_s),
    ),
    ((ModelFilesInvalid,), lambda error: Unavailable("The embedding model is not installed.", MISCONFIGURED_RETRY_S)),
    (
        (OperationalError, InterfaceError),
        lambda error: Unavailable("The database does not answer. Try again shortly.", RETRY_AFTER_S),
    ),
    (
        (ThreadNotFound, CategoryNotFound, RunNotFound, DocumentNotFound, ReindexingNotFound),
        lambda error: NotFound(),
    ),
    ((TooManyUploads,), lambda error: Unavailable(f"{error} Try again shortly.", UPLOADS_RETRY_S)),
    ((UnreadablePostError,), lambda error: TooSlow()),
    ((DuplicateTitle,), lambda error: Conflict(str(error), code="duplicate")),
    ((CategorisationConflict, ReindexingRunning), lambda error: Conflict(str(error))),
    ((DocumentTooLarge,), lambda error: TooLarge(str(error))),
    ((FileKindUnsupported,), lambda error: UnsupportedMediaType("", detail=str(error))),
    ((DocumentUnreadable,), lambda error: ValidationError({error.attr: [str(error)]}, code="unreadable")),
)


NEIGHBOURS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((EmbedderUnavailable, ModelFilesInvalid), "embedder"),
    ((VectorStoreUnavailable,), "vectordb"),
    ((LLMUnavailable,), "llm"),
    ((OperationalError, InterfaceError), "database"),
)


def name_neighbour(exc: Exception) -> str | None:
    """Whose failure it was, as figures call it."""
    return next((name for kinds, name in NEIGHBOURS if isinstance(exc, kinds)), None)


def translate(exc: Exception) -> Exception:
    """The API's exception for one of ours, by the first row that fits; the same exception for any other."""
    if isinstance(exc, IntegrityError) and _tells_that_the_project_is_gone(exc):
        return NotFound()
    if isinstance(exc, OSError) and exc.errno in NO_ROOM:  # for the file of a form, most likely
        return Unavailable("There is no room for it at the moment. Try again shortly.", RETRY_AFTER_S)
    for kinds, answer in TRANSLATIONS:
        if isinstance(exc, kinds):
            return answer(exc)
    return exc


def _tells_that_the_project_is_gone(error: IntegrityError) -> bool:
    """Whether something was to be written for a project whose row went after its key was looked at."""
    diagnostics: Any = getattr(error.__cause__, "diag", None)
    is_missing = getattr(diagnostics, "sqlstate", None) == FOREIGN_KEY_VIOLATION
    return is_missing and f'"{Project._meta.db_table}"' in (diagnostics.message_detail or "")


def error_response(status_code: int, code: str, detail: str) -> JsonResponse:
    """An error in the contract's shape, for what happens outside DRF."""
    body: dict[str, Any] = {
        "type": "server_error" if status_code >= 500 else "client_error",
        "errors": [{"code": code, "detail": detail, "attr": None}],
    }
    return JsonResponse(body, status=status_code)


def is_for_people(request: HttpRequest) -> bool:
    """Whether a browser shows the answer: the admin's errors are pages."""
    return request.path.startswith("/admin/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_for_people(request):
        return defaults.bad_request(request, exception)
    return error_response(400, "bad_request", "The request is not understood.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_for_people(request):
        return defaults.permission_denied(request, exception)
    return error_response(403, "permission_denied", "You do not have permission to perform this action.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_for_people(request):
        return defaults.page_not_found(request, exception)
    return error_response(404, "not_found", "Not found.")


def server_error(request: HttpRequest) -> HttpResponse:
    if is_for_people(request):
        return defaults.server_error(request)
    return error_response(500, "error", "A server error occurred.")


def too_many_logins(request: HttpRequest, exception: TooManyLogins) -> HttpResponse:
    response = render(request, "429.html", {"minutes": -(-exception.retry_after_s // 60)}, status=429)
    response["Retry-After"] = str(exception.retry_after_s)
    return response
