"""Which proxies' word is taken for who is calling, and how.

A proxy tells whom it speaks for in `X-Forwarded-For`, and whether that one came by HTTPS in `X-Forwarded-Proto`. Anyone
can write these headers: they count only from an address of TRUSTED_PROXIES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
Handler = Callable[[HttpRequest], HttpResponse]


class TrustedProxyMiddleware:
    """REMOTE_ADDR becomes the caller's address, as the nearest proxy that is none of ours, or the caller, has it.

    Whoever probes the process or reads its figures comes by its address: for those paths the Host header is no matter.
    """

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        caller = read_address(request.META.get("REMOTE_ADDR", ""))
        if caller is not None and is_within(caller, settings.TRUSTED_PROXIES):
            told = request.META.get("HTTP_X_FORWARDED_FOR", "")
            request.META["REMOTE_ADDR"] = str(find_caller(caller, told, settings.TRUSTED_PROXIES))
        else:
            # what else they write is read by nobody, but that they wrote it tells that a proxy is in between
            request.META.pop("HTTP_X_FORWARDED_PROTO", None)
        if request.path_info.removesuffix("/") in PROBES:
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0].replace("*", "localhost").lstrip(".")
        return self._get_response(request)


def find_caller(proxy: Address, told: str, trusted: Networks) -> Address:
    """The last address in the list that is none of the proxies': what stands before it anyone may have written."""
    caller = proxy
    for text in reversed(told.split(",")):
        address = read_address(text)
        if address is None:
            break
        caller = address
        if not is_within(address, trusted):
            break
    return caller


def is_within(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)


def read_address(text: str) -> Address | None:
    """None for what is no address: a unix socket's name, `unknown`, an attack."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
