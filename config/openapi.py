"""How drf-spectacular describes what all views share."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_standardized_errors.openapi import AutoSchema


class ContractSchema(AutoSchema):  # type: ignore[misc]  # the package has no types
    """The standard errors, with the statuses that a keyed call can always answer."""


class APIKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "teams.authentication.APIKeyAuthentication"
    name = "APIKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-KEY"}
