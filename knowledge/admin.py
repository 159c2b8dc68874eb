"""Documents and libraries in the admin: to look at, to index again, to delete. They are written through the API."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from knowledge import services
from knowledge.errors import DocumentNotFound
from knowledge.models import Document, Library


class NotEdited:
    """Changes go through services, which know what has to be indexed."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Document)
class DocumentAdmin(NotEdited, admin.ModelAdmin[Document]):
    list_display = ["title", "project", "external_id", "state", "chunk_count", "updated_at", "indexed_at"]
    list_filter = ["state", "content_type", "project__team"]
    list_select_related = ["project"]
    search_fields = ["title", "external_id", "id"]
    show_full_result_count = False
    actions = ["index_again"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        documents = super().get_queryset(request).filter(deleted_at=None)
        is_list = (
            request.resolver_match is not None and request.resolver_match.url_name == "knowledge_document_changelist"
        )
        return documents.defer("content") if is_list else documents

    @admin.action(description="Index the selected documents again", permissions=["delete"])
    def index_again(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        messages.success(request, f"{services.index_again(queryset)} will be indexed again.")

    def delete_model(self, request: HttpRequest, obj: Document) -> None:
        self.delete_queryset(request, Document.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        for document in queryset.select_related("project").defer("content"):
            try:
                services.delete_document(project=document.project, document_id=document.pk)
            except DocumentNotFound:  # someone else was faster
                continue


@admin.register(Library)
class LibraryAdmin(NotEdited, admin.ModelAdmin[Library]):
    list_display = ["vectordb_id", "project", "embedder_fingerprint", "dimension", "created_at"]
    list_filter = ["embedder_fingerprint"]
    list_select_related = ["project"]
    search_fields = ["vectordb_id", "project__name"]
