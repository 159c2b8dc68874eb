"""`/metrics` of the web server."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from config.errors import error_response
from config.waiting import Waiting
from observability import exposition

_COLLECTORS = (Waiting(),)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """What all processes of this web server counted, and what waits to be done by workers.

    For whoever has METRICS_TOKEN; without one, for this machine.
    """
    token = settings.ENVIRONMENT.metrics_token
    is_allowed = exposition.may_read(
        authorization=request.headers.get("Authorization", ""),
        peer=request.META.get("REMOTE_ADDR", ""),
        is_forwarded="X-Forwarded-For" in request.headers or "Forwarded" in request.headers,
        token=token.get_secret_value() if token else "",
    )
    if is_allowed:
        body, content_type = exposition.write(request.headers.get("Accept", ""), _COLLECTORS)
        return HttpResponse(body, content_type=content_type)
    if token is None:
        return error_response(403, "permission_denied", "Set METRICS_TOKEN to read this from another machine.")
    response = error_response(401, "not_authenticated", "Send METRICS_TOKEN as a bearer token.")
    response["WWW-Authenticate"] = "Bearer"
    return response
