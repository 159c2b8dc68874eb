"""The paths of categories, and of threads with their labels."""

from __future__ import annotations

from django.urls import path

from categorisation.api import CategoryViewSet, LabelledThreadViewSet

PROJECT = "projects/<id:project_id>"

urlpatterns = [
    path(f"{PROJECT}/categories/", CategoryViewSet.as_view({"get": "list", "post": "create"})),
    path(
        f"{PROJECT}/categories/<id:category_id>/",
        CategoryViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
    ),
    path(f"{PROJECT}/threads/", LabelledThreadViewSet.as_view({"get": "list"})),
    path(
        f"{PROJECT}/threads/<id:thread_id>/",
        LabelledThreadViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
    ),
    path(f"{PROJECT}/threads/<id:thread_id>/category/", LabelledThreadViewSet.as_view({"delete": "forget_label"})),
]
