"""Documents and libraries in the admin: to look at, to index again, to delete. They are written through the API."""

from __future__ import annotations

from auditlog.models import LogEntry
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesRadioFilter

from knowledge import services
from knowledge.errors import DocumentNotFound, ReindexingRunning
from knowledge.models import Document, Library, Reindexing
from knowledge.reindexing import count_documents
from teams import audit
from teams.admin import OnlyToLookAt, OperatorAdmin, PeriodFilter, ReadOnly, RelatedFilter, show_as_label


@admin.register(Document)
class DocumentAdmin(ReadOnly, OperatorAdmin[Document]):
    records_itself = True
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
    list_display = ["vectordb_id", "project", "embedder_fingerprint", "dimension", "created_at"]
    list_filter = [("project", RelatedFilter), ("project__team", RelatedFilter)]
    list_select_related = ["project"]
    search_fields = ["vectordb_id", "project__name", "embedder_fingerprint"]
    actions = ["reindex"]

    def has_reindex_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("knowledge.change_library")

    @admin.action(description="Index all documents of the project again", permissions=["reindex"])
    def reindex(self, request: HttpRequest, queryset: QuerySet[Library]) -> None:
        for library in queryset.select_related("project"):
            try:
                reindexing = services.start_reindexing(project=library.project)
            except ReindexingRunning as exc:
                messages.error(request, f"{library.project}: {exc}")
                continue
            audit.record(reindexing, LogEntry.Action.CREATE, {"done": [None, "begun"]})
            messages.success(request, f"{library.project}: all documents are being indexed again.")


@admin.register(Reindexing)
class ReindexingAdmin(OnlyToLookAt, OperatorAdmin[Reindexing]):
    list_display = ["started_at", "project", "standing", "total", "done", "failed", "problem", "finished_at"]
    list_filter = [
        ("state", ChoicesRadioFilter),
        ("project", RelatedFilter),
        ("project__team", RelatedFilter),
        ("started_at", PeriodFilter),
    ]
    list_select_related = ["project"]
    search_fields = ["project__name"]
    sortable_by = ["started_at"]
    readonly_fields = ["progress"]
    actions = ["cancel"]
    fieldsets = [
        (None, {"fields": ["project", "state", "error", "progress"]}),
        ("Library", {"fields": ["vectordb_id", "embedder_fingerprint", "dimension"]}),
        ("Times", {"fields": ["started_at", "finished_at"]}),
    ]

    @show_as_label("state", {"done": "success", "running": "info", "failed": "danger", "cancelled": "warning"})
    def standing(self, reindexing: Reindexing) -> str:
        return reindexing.state

    @admin.display(description="error")
    def problem(self, reindexing: Reindexing) -> str:
        return reindexing.error[:80]

    @admin.display(description="documents")
    def progress(self, reindexing: Reindexing) -> str:
        counts = count_documents(reindexing)
        return f"{counts.done} of {counts.total} indexed again, {counts.failed} failed"

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("knowledge.change_reindexing")

    @admin.action(description="Call off", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Reindexing]) -> None:
        for reindexing in queryset:
            if services.cancel_reindexing(reindexing.pk):
                audit.record(reindexing, LogEntry.Action.UPDATE, {"done": [None, "called off"]})
                messages.success(request, f"{reindexing}: called off, the library of before goes on answering.")
            else:
                messages.error(request, f"{reindexing}: it has ended already.")
