"""Every path of the service. Views come from the rooms; the extended thread viewset is categorisation's."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView

import config.beat_admin  # noqa: F401  # in place of the package's own pages
from config.health import healthz, readyz
from config.metrics import metrics

urlpatterns = [
    path("query/v1/", include("categorisation.urls")),
    path("query/v1/", include("query.urls")),
    path("knowledge/v1/", include("knowledge.urls")),
    path("reports/", include("insights.urls")),
    path("admin/", admin.site.urls),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("redoc", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.not_found"
handler500 = "config.errors.server_error"
