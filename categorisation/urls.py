"""The paths of categories and runs, and of threads with their labels."""

from __future__ import annotations

from django.urls import path

from categorisation.api import CategoryViewSet, LabelledThreadViewSet, RunViewSet

PROJECT = "projects/<id:project_id>"
RUNS = f"{PROJECT}/categorisation/runs"

urlpatterns = [
    path(f"{PROJECT}/categories/", CategoryViewSet.as_view({"get": "list", "post": "create"})),
    path(
        f"{PROJECT}/categories/<id:category_id>/",
        CategoryViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
    ),
    path(f"{PROJECT}/categories/preview/", RunViewSet.as_view({"post": "preview"})),
    path(f"{PROJECT}/categories/reclassify/", RunViewSet.as_view({"post": "reclassify"})),
    path(f"{RUNS}/", RunViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{RUNS}/<id:run_id>/", RunViewSet.as_view({"get": "retrieve"})),
    path(f"{RUNS}/<id:run_id>/pause/", RunViewSet.as_view({"post": "pause"})),
    path(f"{RUNS}/<id:run_id>/resume/", RunViewSet.as_view({"post": "resume"})),
    path(f"{RUNS}/<id:run_id>/cancel/", RunViewSet.as_view({"post": "cancel"})),
    path(f"{PROJECT}/threads/", LabelledThreadViewSet.as_view({"get": "list"})),
    path(
        f"{PROJECT}/threads/<id:thread_id>/",
        LabelledThreadViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
    ),
    path(f"{PROJECT}/threads/<id:thread_id>/category/", LabelledThreadViewSet.as_view({"delete": "forget_label"})),
]
