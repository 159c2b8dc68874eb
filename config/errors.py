"""Where the rooms' errors become answers: one shape, one table."""

from __future__ import annotations

from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, JsonResponse
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ValidationError

from categorisation.errors import CategorisationConflict, CategoryNotFound, DuplicateTitle
from knowledge.errors import DocumentTooLarge, DocumentUnreadable, EmbedderUnavailable, VectorStoreUnavailable
from query.errors import LLMUnavailable, ThreadNotFound

RETRY_AFTER_S = 5


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


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


def translate(exc: Exception) -> Exception:
    """The API's exception for one of ours; the same exception for any other."""
    match exc:
        case EmbedderUnavailable() | VectorStoreUnavailable() | LLMUnavailable():
            return Unavailable(f"{exc} Try again shortly.", exc.retry_after_s)
        case OperationalError() | InterfaceError():
            return Unavailable("The database does not answer. Try again shortly.", RETRY_AFTER_S)
        case ThreadNotFound() | CategoryNotFound():
            return NotFound()
        case DuplicateTitle():
            return Conflict(str(exc), code="duplicate")
        case CategorisationConflict():
            return Conflict(str(exc))
        case DocumentTooLarge():
            return TooLarge(str(exc))
        case DocumentUnreadable():
            return ValidationError({exc.attr: [str(exc)]}, code="unreadable")
        case _:
            return exc


def error_response(status_code: int, code: str, detail: str) -> JsonResponse:
    """An error in the contract's shape, for what happens outside DRF."""
    body: dict[str, Any] = {
        "type": "server_error" if status_code >= 500 else "client_error",
        "errors": [{"code": code, "detail": detail, "attr": None}],
    }
    return JsonResponse(body, status=status_code)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error_response(400, "bad_request", "The request is not understood.")


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error_response(403, "permission_denied", "You do not have permission to perform this action.")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error_response(404, "not_found", "Not found.")


def server_error(request: HttpRequest) -> JsonResponse:
    return error_response(500, "error", "A server error occurred.")
