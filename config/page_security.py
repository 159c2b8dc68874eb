"""What browsers are told that the service's pages may do, beyond what Django's own middleware tells them.

Pages load from the service alone, and run no script that stands in a page, unless it bears the answer's nonce
(`{{ request.csp_nonce }}`). Three places need more, and get it there alone.
"""

from __future__ import annotations

from typing import Any

from csp.constants import NONCE, NONE, SELF, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Directives = dict[str, list[Any]]

EVERYWHERE: Directives = {
    "default-src": [SELF],
    "script-src": [SELF, NONCE],
    "style-src": [SELF, NONCE],
    "img-src": [SELF, "data:"],
    "object-src": [NONE],
    "base-uri": [NONE],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
}
# The admin's pages hold elements with styles of their own. They evaluate nothing, as unfold's usually do, thanks to
# config/static/unfold/js/alpine.
ADMIN: Directives = {"style-src": [SELF, UNSAFE_INLINE]}
# both viewers write styles into the page; Redoc searches in a worker that it makes itself
VIEWERS: Directives = {"style-src": [SELF, UNSAFE_INLINE], "worker-src": [SELF, "blob:"]}
MORE_BELOW: dict[str, Directives] = {"/admin/": ADMIN, "/redoc/": VIEWERS, "/docs/": VIEWERS}

NO_DEVICES = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "autoplay",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "hid",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "serial",
        "usb",
    )
)


class PageSecurityMiddleware(CSPMiddleware):
    """Content-Security-Policy by path; Permissions-Policy; and no shared cache keeps an answer that does not say so."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Permissions-Policy", NO_DEVICES)
        response.headers.setdefault("Cache-Control", "no-store")
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and parts.config is None:
            parts.config = directives_of(request.path_info)
        return parts


def directives_of(path: str) -> Directives:
    """Those of the pages at that path, with or without its trailing slash."""
    whole = path if path.endswith("/") else f"{path}/"
    more = (directives for prefix, directives in MORE_BELOW.items() if whole.startswith(prefix))
    return {**EVERYWHERE, **next(more, {})}
