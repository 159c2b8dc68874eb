"""The HTTP calls of documents. They translate; services decide."""

from __future__ import annotations

from contextlib import suppress
from typing import IO, Any, ClassVar
from uuid import UUID

from django.core.exceptions import SuspiciousOperation
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.exceptions import ParseError
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.parsers import BaseParser, DataAndFiles, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from knowledge import selectors, services
from knowledge.models import Document, Reindexing
from knowledge.serializers import (
    DocumentBody,
    DocumentChanges,
    DocumentFilters,
    DocumentRow,
    DocumentUpload,
    ReindexingRow,
)
from knowledge.services import Written
from teams.permissions import key_of
from teams.views import KeyView

A_DOCUMENT = OpenApiExample(
    "A document",
    request_only=True,
    media_type="application/json",
    value={
        "external_id": "guide/retries.md",
        "title": "Retries",
        "source_url": "https://example.com/guide/retries",
        "content": "# Retries\n\nA task that fails is tried again after a pause.",
        "content_type": "text/markdown",
        "metadata": {"language": "en"},
    },
)
A_ROW = OpenApiExample(
    "A document, indexed",
    response_only=True,
    status_codes=["200", "201"],
    value={
        "id": "0b6f7f7e-6c5c-4d8e-9f57-2f3c1d0e9a11",
        "external_id": "guide/retries.md",
        "title": "Retries",
        "source_url": "https://example.com/guide/retries",
        "content_type": "text/markdown",
        "state": "indexed",
        "error": "",
        "chunk_count": 1,
        "content_sha256": "3f0a377ba0a4a460ecb616f6507ce0d8cfa3e704025d4fda3ed0c5ca05468728",
        "metadata": {"language": "en"},
        "created_at": "2026-01-31T12:00:00Z",
        "updated_at": "2026-01-31T12:00:00Z",
        "indexed_at": "2026-01-31T12:00:02Z",
    },
)


class FormParser(MultiPartParser):
    """Forms with one file; one with more, or with too many fields, is a bad request like any other."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> DataAndFiles[Any, Any]:
        try:
            return super().parse(stream, media_type, parser_context)
        except Exception as exc:
            _delete_files(parser_context["request"])
            if isinstance(exc, SuspiciousOperation):
                raise ParseError("The form has too many parts: one file and a few short fields are expected.") from exc
            raise


def _delete_files(request: Request) -> None:
    """What came of the form before it failed. Django would leave it to whenever its memory is collected."""
    for handler in request.upload_handlers:
        file = getattr(handler, "file", None)
        if file is not None:
            with suppress(OSError):  # there is no room for what is not written yet; it is deleted all the same
                file.close()


@extend_schema(tags=["documents"])
class DocumentViewSet(KeyView, ListModelMixin, GenericViewSet[Document]):
    """What a project's bot knows. A document's content is sent, never shown again: retrieval shows its passages."""

    scopes: ClassVar = {
        "list": "read",
        "create": "ingest",
        "retrieve": "read",
        "partial_update": "ingest",
        "destroy": "ingest",
    }
    large_bodies: ClassVar = {"create": "document", "partial_update": "document"}
    serializer_class = DocumentRow
    queryset = Document.objects.none()
    ordering = ("-created_at", "-id")

    def get_parsers(self) -> list[BaseParser]:
        takes_files = self.request is None or self.request.method == "POST"
        return [*super().get_parsers(), FormParser()] if takes_files else super().get_parsers()

    def get_queryset(self) -> QuerySet[Document]:
        filters = DocumentFilters(data=self.request.query_params)
        filters.is_valid(raise_exception=True)
        return selectors.documents_of(self.kwargs["project_id"]).filter(**filters.validated_data)

    @extend_schema(operation_id="documents_list", summary="List documents, newest first", parameters=[DocumentFilters])
    def list(self, request: Request, project_id: UUID) -> Response:
        """The project's documents, newest first."""
        return super().list(request)

    @extend_schema(
        operation_id="documents_put",
        summary="Add or replace a document",
        request={"application/json": DocumentBody, "multipart/form-data": DocumentUpload},
        responses={200: DocumentRow, 201: DocumentRow},
        examples=[A_DOCUMENT, A_ROW],
    )
    def create(self, request: Request, project_id: UUID) -> Response:
        """Teach the bot a document, as JSON or as a file, or replace the one of the same `external_id`.

        201: it is new. 200: it replaced another, or is unchanged. It is indexed in the background; until then answers
        are drawn from what it replaces.
        """
        is_form = str(request.content_type).lower().startswith("multipart/")
        body: DocumentBody | DocumentUpload = (DocumentUpload if is_form else DocumentBody)(data=request.data)
        body.is_valid(raise_exception=True)
        document, written = services.put_document(project=key_of(request).project, draft=body.draft())
        code = status.HTTP_201_CREATED if written is Written.CREATED else status.HTTP_200_OK
        return Response(DocumentRow(document).data, status=code)

    @extend_schema(operation_id="documents_get", summary="Read a document's state", examples=[A_ROW])
    def retrieve(self, request: Request, project_id: UUID, document_id: UUID) -> Response:
        """One document: how far its indexing is, and what is wrong with it."""
        return Response(DocumentRow(selectors.find_document(project_id, document_id)).data)

    @extend_schema(
        operation_id="documents_change", summary="Change a document", request=DocumentChanges, responses=DocumentRow
    )
    def partial_update(self, request: Request, project_id: UUID, document_id: UUID) -> Response:
        """Change some fields. A change of title, content or content type is indexed in the background."""
        body = DocumentChanges(selectors.find_document(project_id, document_id), data=request.data)
        body.is_valid(raise_exception=True)
        document = services.update_document(
            project=key_of(request).project, document_id=document_id, changes=body.changes()
        )
        return Response(DocumentRow(document).data)

    @extend_schema(operation_id="documents_delete", summary="Delete a document", responses={204: None})
    def destroy(self, request: Request, project_id: UUID, document_id: UUID) -> Response:
        """Forget a document: no answer or retrieval that begins after this call shows it."""
        services.delete_document(project=key_of(request).project, document_id=document_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema(tags=["documents"])
class DocumentsReindex(KeyView, GenericAPIView[Reindexing]):
    """All of a project's documents, indexed again: after a change of the embedder or of the splitter, say."""

    scopes: ClassVar = {"get": "read", "post": "ingest"}
    conflicting_actions = ("post",)
    serializer_class = ReindexingRow
    queryset = Reindexing.objects.none()

    @extend_schema(operation_id="documents_reindexing", summary="See how far the last indexing of all documents is")
    def get(self, request: Request, project_id: UUID) -> Response:
        """The last one that was begun; 404 when there was none."""
        return Response(ReindexingRow(selectors.find_reindexing(project_id)).data)

    @extend_schema(
        operation_id="documents_reindex",
        summary="Index all documents again",
        request=None,
        responses={202: ReindexingRow},
    )
    def post(self, request: Request, project_id: UUID) -> Response:
        """Embed and index every document again, in the background.

        Answers are drawn from what was indexed before until all of it is there; then they change over at one moment.
        Documents may be added, changed and deleted meanwhile. 409: one is running already.
        """
        started = services.start_reindexing(project=key_of(request).project)
        return Response(ReindexingRow(started).data, status=status.HTTP_202_ACCEPTED)
