"""How drf-spectacular describes what all views share."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_standardized_errors.openapi import AutoSchema
from drf_standardized_errors.openapi_serializers import ClientErrorEnum, ServerErrorEnum
from rest_framework import serializers


class ContractSchema(AutoSchema):  # type: ignore[misc]  # the package has no types
    """The standard errors, each only of the calls that can answer it.

    A view whose calls the state of things may not allow names their actions in `conflicting_actions`.
    """

    def _should_add_error_response(self, responses: dict[str, Any], status_code: str) -> bool:
        if status_code in ("413", "415") and not self._reads_a_body():
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

    def _reads_a_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH") and self.get_request_serializer() is not None

    def _can_conflict(self) -> bool:
        action = getattr(self.view, "action", self.method.lower())
        return action in getattr(self.view, "conflicting_actions", ())


class Refusal(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True)


class ConflictResponse(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=ClientErrorEnum.choices)
    errors = Refusal(many=True)  # type: ignore[assignment]  # the field of that name, not the serializer's faults


class TooLargeResponse(ConflictResponse):
    pass


class UnavailableResponse(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=ServerErrorEnum.choices)
    errors = Refusal(many=True)  # type: ignore[assignment]  # the field of that name, not the serializer's faults


class APIKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "teams.authentication.APIKeyAuthentication"
    name = "APIKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-KEY"}
