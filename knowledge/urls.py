"""The paths of documents."""

from __future__ import annotations

from django.urls import path

from knowledge.api import DocumentsReindex, DocumentViewSet

DOCUMENTS = "projects/<id:project_id>/documents/"

urlpatterns = [
    path(DOCUMENTS, DocumentViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{DOCUMENTS}reindex/", DocumentsReindex.as_view()),
    path(
        f"{DOCUMENTS}<id:document_id>/",
        DocumentViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
]
