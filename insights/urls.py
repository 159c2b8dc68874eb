"""The pages behind the links of mails."""

from __future__ import annotations

from django.urls import path

from insights.views import report_preference

urlpatterns = [path("unsubscribe/<str:token>", report_preference, name="report-preference")]
