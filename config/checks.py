"""What `manage.py check --deploy` says beyond Django's own checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from config.exposure import is_address_told

ADDRESS_IS_NOT_TOLD = checks.Warning(
    "PUBLIC_URL is not set: the service answers to any host name, and mails point to localhost.",
    hint="Set PUBLIC_URL to the address that people type, such as https://parley.example.com.",
    id="config.W001",
)
NO_HTTPS = checks.Warning(
    "PUBLIC_URL does not begin with https://: keys, passwords and sessions can be read on their way.",
    hint="Put a proxy that ends TLS in front of the service, and set PUBLIC_URL and TRUSTED_PROXIES.",
    id="config.W002",
)
NO_PROXY_IS_TRUSTED = checks.Warning(
    "TRUSTED_PROXIES is empty: the service cannot tell who came by HTTPS, nor who is calling.",
    hint="Set TRUSTED_PROXIES to the addresses or networks of the proxy that ends TLS.",
    id="config.W003",
)


@checks.register("config", deploy=True)
def check_exposure(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[checks.CheckMessage]:
    """What a service that others reach should not be left with."""
    if not is_address_told(settings.ENVIRONMENT):
        return [ADDRESS_IS_NOT_TOLD]
    if not settings.IS_HTTPS:
        return [NO_HTTPS]
    return [] if settings.TRUSTED_PROXIES else [NO_PROXY_IS_TRUSTED]
