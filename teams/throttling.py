"""Each key has a limit of calls a minute: its own, or the service's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from observability import metrics
from teams import rates
from teams.models import ProjectAPIKey
from teams.rates import Taken

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module, by DRF's settings

ATTRIBUTE = "rate_limit"  # of the HTTP request, where a middleware finds what its answer has to tell


class KeyThrottle(BaseThrottle):
    """429 with `Retry-After` beyond the limit; calls that no key makes are let pass."""

    _taken: Taken | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        key = request.auth
        if not isinstance(key, ProjectAPIKey):
            return True
        per_minute = key.calls_per_minute or settings.ENVIRONMENT.calls_per_minute
        if per_minute == 0:
            return True
        self._taken = rates.take_call(key.pk, per_minute)
        setattr(request._request, ATTRIBUTE, self._taken)
        if not self._taken.is_allowed:
            metrics.THROTTLED_REQUESTS.inc()
        return self._taken.is_allowed

    def wait(self) -> float | None:
        return None if self._taken is None else self._taken.retry_after_s
