"""Whether the process is up, and whether it can do its work."""

from __future__ import annotations

import logging

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from config.celery import app
from knowledge.composition import vector_store

logger = logging.getLogger(__name__)
PROBE_TIMEOUT_S = 1.0


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """503 when the database is down; a broker or vectordb that is down only degrades the service."""
    if not database_answers():
        return JsonResponse({"status": "unavailable", "database": "down"}, status=503, headers={"Retry-After": "5"})
    neighbours = {
        "broker": "ok" if broker_answers() else "degraded",
        "vectordb": "ok" if vector_store().is_ready() else "degraded",
    }
    return JsonResponse({"status": "ok", "database": "ok", **neighbours})


def database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def broker_answers() -> bool:
    try:
        with app.connection_for_write(connect_timeout=PROBE_TIMEOUT_S) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=PROBE_TIMEOUT_S)
    except Exception:  # noqa: BLE001 - every transport raises its own kinds; whichever it is, the broker does not answer
        return False
    return True
