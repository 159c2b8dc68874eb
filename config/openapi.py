"""How drf-spectacular describes what all views share."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_standardized_errors.openapi import AutoSchema
from drf_standardized_errors.openapi_serializers import ClientErrorEnum, ServerErrorEnum
from rest_framework import serializers


class ContractSchema(AutoSchema):  # type: ignore[misc]  # the package has no types
    """The standard errors, with the statuses that a keyed call can always answer."""

    def _should_add_validation_error_response(self) -> bool:
        """Also where only the query can be wrong."""
        takes_a_query = any(parameter["in"] == "query" for parameter in self._get_parameters())
        return takes_a_query or bool(super()._should_add_validation_error_response())


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
