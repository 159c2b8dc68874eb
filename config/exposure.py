"""What follows from where people reach the service: pure decisions from the typed environment."""

from __future__ import annotations

from urllib.parse import urlsplit

from config.environment import Environment

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
ANY_HOST = "*"


def choose_hosts(environment: Environment) -> list[str]:
    """The names that are answered to: those that were given, or PUBLIC_URL's and this machine's.

    As long as nobody has said how the service is reached, it answers to any name, so that a first try from another
    machine works.
    """
    if environment.allowed_hosts:
        return environment.allowed_hosts
    if not is_address_told(environment):
        return [ANY_HOST]
    host = urlsplit(environment.public_url).hostname or ""
    own = f"[{host}]" if ":" in host else host
    return list(dict.fromkeys([own, *LOOPBACK_HOSTS]))


def choose_origins(environment: Environment) -> list[str]:
    """Whose pages may post: the service's own, whatever a proxy makes of its name, and those that were given."""
    own = [environment.public_url] if is_address_told(environment) else []
    return list(dict.fromkeys([*own, *environment.csrf_trusted_origins]))


def is_address_told(environment: Environment) -> bool:
    return "public_url" in environment.model_fields_set


def name_cookie(name: str, *, is_https: bool) -> str:
    """With the prefix by which browsers refuse a cookie that another host, or plain HTTP, has set (RFC 6265bis)."""
    return f"__Host-{name}" if is_https else name
