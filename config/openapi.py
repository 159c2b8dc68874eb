"""How drf-spectacular describes what all views share."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_standardized_errors.openapi import AutoSchema
from drf_standardized_errors.openapi_serializers import ClientErrorEnum, ServerErrorEnum, ValidationErrorEnum
from rest_framework import serializers

from observability import request_id
from query.event_shapes import Refusal

HEADERS: dict[str, dict[str, Any]] = {
    request_id.HEADER: {
        "required": True,
        "description": "The request's name in the service's logs: the one that it was sent with, or a new one.",
        "schema": {"type": "string"},
    },
    "RateLimit-Limit": {
        "description": "How many calls a minute the key may make. Sent with the two beside it where there is a limit.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Remaining": {
        "description": "How many of them may be made at once now.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Reset": {
        "description": "In how many seconds all of them may be made again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Retry-After": {
        "required": True,
        "description": "In how many seconds to try again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "required": True,
        "description": "How to say who is calling.",
        "schema": {"type": "string"},
    },
}
RATE_LIMIT = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
OF_STATUS = {"401": ("WWW-Authenticate",), "429": ("Retry-After",), "503": ("Retry-After",)}


class ContractSchema(AutoSchema):  # type: ignore[misc]  # the package has no types
    """The standard errors, each only of the calls that can answer it, and the headers of every answer.

    A view whose calls the state of things may not allow names their actions in `conflicting_actions`. A serializer
    tells in `further_rules` what its fields do not, as JSON Schema.
    """

    def _should_add_error_response(self, responses: dict[str, Any], status_code: str) -> bool:
        if status_code in ("408", "411", "413", "415") and not self._reads_a_body():
            return False
        if status_code == "409" and not self._can_conflict():
            return False
        return bool(super()._should_add_error_response(responses, status_code))

    def _should_add_parse_error_response(self) -> bool:
        return self._reads_a_body() and bool(super()._should_add_parse_error_response())

    def _should_add_validation_error_response(self) -> bool:
        """Also where only the query can be wrong."""
        takes_a_query = any(parameter["in"] == "query" for parameter in self._get_parameters())
        return takes_a_query or bool(super()._should_add_validation_error_response())

    def _should_add_http406_error_response(self) -> bool:
        """Not of a call that answers JSON to whoever accepts something else."""
        heeds_accept = getattr(self.view.get_content_negotiator(), "heeds_accept", True)
        return heeds_accept and bool(super()._should_add_http406_error_response())

    def _reads_a_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH") and self.get_request_serializer() is not None

    def _can_conflict(self) -> bool:
        action = getattr(self.view, "action", self.method.lower())
        return action in getattr(self.view, "conflicting_actions", ())

    def _get_response_headers_for_code(self, status_code: str, direction: str = "response") -> dict[str, Any]:
        limits = RATE_LIMIT if self.view.get_throttles() else ()
        names = (request_id.HEADER, *limits, *OF_STATUS.get(status_code, ()))
        more = super()._get_response_headers_for_code(status_code, direction)
        return {**{name: {"$ref": f"#/components/headers/{name}"} for name in names}, **more}

    def _get_request_for_media_type(self, serializer: Any, direction: str = "request") -> tuple[Any, bool]:
        """Rules about what must be there make the body one that must be there."""
        described = super()._get_request_for_media_type(serializer, direction)  # type: ignore[no-untyped-call]
        schema, is_required = described
        return schema, is_required or hasattr(serializer, "further_rules")

    def _map_basic_serializer(self, serializer: Any, direction: str) -> dict[str, Any]:
        described: dict[str, Any] = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        return {**described, **getattr(serializer, "further_rules", {})}


def share_what_repeats(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Put headers, and the errors that many calls answer alike, where each is described once."""
    shared: dict[str, Any] = {}
    for call in _list_calls(result):
        for status, response in call["responses"].items():
            if status < "400":
                continue
            response["description"] = HTTPStatus(int(status)).phrase
            if shared.setdefault(f"Error{status}", response) == response:
                call["responses"][status] = {"$ref": f"#/components/responses/Error{status}"}
    result["components"] |= {"headers": HEADERS, "responses": shared}
    return result


def _list_calls(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [call for of_path in result["paths"].values() for name, call in of_path.items() if name != "parameters"]


class BadRequestResponse(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=[*ValidationErrorEnum.choices, *ClientErrorEnum.choices])
    errors = Refusal(many=True)  # type: ignore[assignment]  # the field of that name, not the serializer's faults


class RefusedResponse(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=ClientErrorEnum.choices)
    errors = Refusal(many=True)  # type: ignore[assignment]  # the field of that name, not the serializer's faults


class UnavailableResponse(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=ServerErrorEnum.choices)
    errors = Refusal(many=True)  # type: ignore[assignment]  # the field of that name, not the serializer's faults


class APIKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "teams.authentication.APIKeyAuthentication"
    name = "APIKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-KEY"}
