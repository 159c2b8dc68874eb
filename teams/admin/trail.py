"""The audit trail in the admin: to look at, never to change."""

from __future__ import annotations

from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import capfirst
from unfold.contrib.filters.admin import ChoicesRadioFilter, DropdownFilter, RadioFilter

from teams.admin.base import OnlyToLookAt, OperatorAdmin, PeriodFilter, RelatedFilter, read_id, show_as_label

admin.site.unregister(LogEntry)


class KindFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """What was changed."""

    title = "what was changed"
    parameter_name = "content_type__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = ContentType.objects.get_for_models(*auditlog.get_models())
        return sorted(((str(kind.pk), str(capfirst(kind.name))) for kind in kinds.values()), key=lambda kind: kind[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        chosen = self.value()
        return queryset.filter(content_type=chosen) if chosen and chosen.isdecimal() else queryset


class WhoFilter(RadioFilter):  # type: ignore[misc]
    """By what way."""

    title = "by"
    parameter_name = "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("user", "a user of the admin"), ("key", "an API key"), ("else", "command line or background work")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        by_key, by_user = Q(additional_data__has_key="key"), Q(actor_email__isnull=False)
        match self.value():
            case "user":
                return queryset.filter(by_user)
            case "key":
                return queryset.filter(by_key)
            case "else":
                return queryset.filter(actor_email=None).exclude(by_key)
        return queryset


@admin.register(LogEntry)
class TrailAdmin(OnlyToLookAt, OperatorAdmin[LogEntry]):
    """Who changed what."""

    list_display = ["timestamp", "by", "did", "kind", "row", "what_changed"]
    list_display_links = ["timestamp"]
    list_filter = [
        ("timestamp", PeriodFilter),
        ("actor", RelatedFilter),
        WhoFilter,
        ("action", ChoicesRadioFilter),
        KindFilter,
    ]
    list_select_related = ["content_type"]
    search_fields = ["object_repr", "actor_email"]
    search_help_text = "A name, an e-mail address, or the id of a row, a project or a request"
    sortable_by = ["timestamp"]
    ordering = ["-timestamp", "-id"]
    fields = ["timestamp", "by", "action", "kind", "row", "object_pk", "project", "changes_shown", "cid"]
    readonly_fields = ["by", "kind", "row", "project", "changes_shown"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LogEntry], search_term: str
    ) -> tuple[QuerySet[LogEntry], bool]:
        wanted = read_id(search_term)
        if wanted is None:
            return super().get_search_results(request, queryset, search_term)
        named = Q(object_pk=str(wanted)) | Q(additional_data__project=str(wanted)) | Q(additional_data__key=str(wanted))
        return queryset.filter(named | Q(cid__in=[str(wanted), wanted.hex])), False

    @admin.display(description="who")
    def by(self, entry: LogEntry) -> str:
        return str((entry.additional_data or {}).get("by") or entry.actor_email or "")

    @show_as_label("did", {"create": "success", "update": "info", "delete": "danger"})
    def did(self, entry: LogEntry) -> str:
        return str(entry.get_action_display())

    @admin.display(description="what")
    def kind(self, entry: LogEntry) -> str:
        return str(capfirst(entry.content_type.name))

    @admin.display(description="which")
    def row(self, entry: LogEntry) -> str:
        """Its name at that time, with a link to it as it is now."""
        content_type = entry.content_type
        try:
            url = reverse(f"admin:{content_type.app_label}_{content_type.model}_change", args=[entry.object_pk])
        except NoReverseMatch:
            return str(entry.object_repr)
        return format_html('<a class="text-link" href="{}">{}</a>', url, entry.object_repr)

    @admin.display(description="project")
    def project(self, entry: LogEntry) -> str:
        project_id = (entry.additional_data or {}).get("project")
        if project_id is None:
            return ""
        url = reverse("admin:teams_project_change", args=[project_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, project_id)

    @admin.display(description="changes")
    def what_changed(self, entry: LogEntry) -> str:
        return ", ".join(sorted(entry.changes or {}))

    @admin.display(description="changes")
    def changes_shown(self, entry: LogEntry) -> str:
        lines = ((name, _describe(change)) for name, change in sorted((entry.changes or {}).items()))
        return format_html_join("", "<p><b>{}</b>: {}</p>", lines)


def _describe(change: Any) -> str:
    if isinstance(change, dict):  # of a many-to-many relation
        return f"{change['operation']} {', '.join(change['objects'])}"
    before, after = change
    return f"{'nothing' if before in (None, 'None') else before} → {'nothing' if after in (None, 'None') else after}"
