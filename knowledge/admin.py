"""Documents and libraries in the admin: to look at, to index again, to delete. They are written through the API."""

from __future__ import annotations

from auditlog.models import LogEntry
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesRadioFilter

from knowledge import services
from knowledge.errors import DocumentNotFound
from knowledge.models import Document, Library
from teams import audit
from teams.admin import OnlyToLookAt, OperatorAdmin, PeriodFilter, ReadOnly, RelatedFilter, show_as_label


@admin.register(Document)
class DocumentAdmin(ReadOnly, OperatorAdmin[Document]):
    list_display = ["title", "project", "external_id", "progress", "chunk_count", "problem", "created_at", "indexed_at"]
    list_filter = [
        ("state", ChoicesRadioFilter),
        ("project", RelatedFilter),
        ("project__team", RelatedFilter),
        ("content_type", ChoicesRadioFilter),
        ("created_at", PeriodFilter),
    ]
    list_select_related = ["project"]
    search_fields = ["title", "external_id"]
    sortable_by = ["created_at"]
    actions = ["index_again"]
    fieldsets = [
        (None, {"fields": ["title", "project", "external_id", "source_url", "content_type", "metadata"]}),
        ("Indexing", {"fields": ["state", "error", "chunk_count", "indexed_at", "revision", "live_revision"]}),
        ("Times", {"fields": ["created_at", "updated_at"]}),
        ("Text", {"fields": ["content"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        documents = super().get_queryset(request).filter(deleted_at=None)
        is_list = (
            request.resolver_match is not None and request.resolver_match.url_name == "knowledge_document_changelist"
        )
        return documents.defer("content") if is_list else documents

    @show_as_label("state", {"indexed": "success", "pending": "info", "failed": "danger"})
    def progress(self, document: Document) -> str:
        return document.state

    @admin.display(description="error")
    def problem(self, document: Document) -> str:
        return document.error[:80]

    def has_reindex_permission(self, request: HttpRequest) -> bool:
        """Who may change documents may have them indexed again; their text is changed by nobody here."""
        return request.user.has_perm("knowledge.change_document")

    @admin.action(description="Index again", permissions=["reindex"])
    def index_again(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        for document in queryset.only("project_id"):
            _record(document, LogEntry.Action.UPDATE, "index again")
        messages.success(request, f"{services.index_again(queryset)} will be indexed again.")

    def delete_model(self, request: HttpRequest, obj: Document) -> None:
        self.delete_queryset(request, Document.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        for document in queryset.select_related("project").defer("content"):
            try:
                services.delete_document(project=document.project, document_id=document.pk)
            except DocumentNotFound:  # someone else was faster
                continue
            _record(document, LogEntry.Action.DELETE, "delete")


def _record(document: Document, action: int, what: str) -> None:
    """Without its title, which may tell what it says."""
    audit.record(document, action, {"done": [None, what]}, name=f"document {document.pk}")


@admin.register(Library)
class LibraryAdmin(OnlyToLookAt, OperatorAdmin[Library]):
    is_audited = False
    list_display = ["vectordb_id", "project", "embedder_fingerprint", "dimension", "created_at"]
    list_filter = [("project", RelatedFilter), ("project__team", RelatedFilter)]
    list_select_related = ["project"]
    search_fields = ["vectordb_id", "project__name", "embedder_fingerprint"]
