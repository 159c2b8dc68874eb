"""API keys in the admin. A key's plain text is on the page that answers its making, and nowhere else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.contrib.filters.admin import RadioFilter
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from teams import services
from teams.admin.base import OperatorAdmin, RelatedFilter, show_as_label
from teams.models import Project, ProjectAPIKey, Scope


class UsableFilter(RadioFilter):  # type: ignore[misc]  # unfold has no types
    """Keys that open something, and those that do no more."""

    title = "state"
    parameter_name = "usable"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("usable", "usable"), ("expired", "expired"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ProjectAPIKey]) -> QuerySet[ProjectAPIKey]:
        revoked, expired = Q(revoked_at__lte=Now()), Q(expires_at__lte=Now())
        match self.value():
            case "usable":
                return queryset.exclude(revoked).exclude(expired)
            case "expired":
                return queryset.filter(expired)
            case "revoked":
                return queryset.filter(revoked)
        return queryset


class APIKeyForm(forms.ModelForm[ProjectAPIKey]):
    scopes = forms.MultipleChoiceField(choices=Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget)

    class Meta:
        model = ProjectAPIKey
        fields = ["project", "name", "scopes", "calls_per_minute", "expires_at"]

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if expires_at is not None and "expires_at" in self.changed_data and expires_at <= timezone.now():
            raise forms.ValidationError("This lies in the past.")
        return expires_at


@admin.register(ProjectAPIKey)
class ProjectAPIKeyAdmin(OperatorAdmin[ProjectAPIKey]):
    form = APIKeyForm
    list_display = ["name", "project", "shown_part", "may", "state", "expires_at", "last_used_at"]
    list_filter = [UsableFilter, ("project", RelatedFilter), ("project__team", RelatedFilter)]
    list_select_related = ["project"]
    search_fields = ["name", "shown_part", "project__name"]
    autocomplete_fields = ["project"]
    actions = ["revoke"]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        one_way_to_save = {"show_save_and_add_another": False, "show_save_and_continue": False}
        response: HttpResponse = super().add_view(request, form_url, {**(extra_context or {}), **one_way_to_save})
        return response

    def get_readonly_fields(self, request: HttpRequest, obj: ProjectAPIKey | None = None) -> list[str]:
        if obj is None:
            return []
        return ["project", "shown_part", "created_at", "revoked_at", "last_used_at"]

    @admin.display(description="may")
    def may(self, key: ProjectAPIKey) -> str:
        return ", ".join(key.scopes)

    @show_as_label("state", {"usable": "success", "expired": "warning", "revoked": "danger"})
    def state(self, key: ProjectAPIKey) -> str:
        now = timezone.now()
        if key.is_usable(now):
            return "usable"
        return "revoked" if key.revoked_at is not None and key.revoked_at <= now else "expired"

    def save_model(self, request: HttpRequest, obj: ProjectAPIKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        row, plain = services.create_api_key(
            project=obj.project,
            name=obj.name,
            scopes=obj.scopes,
            expires_at=obj.expires_at,
            calls_per_minute=obj.calls_per_minute,
        )
        obj.pk, obj.shown_part = row.pk, row.shown_part
        request.plain_key = plain  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: ProjectAPIKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The page with the key itself: a message for the next page would lie in a cookie or a session until then."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "title": f"The key {obj.name}",
            "key": obj,
            "project": Project.objects.get(pk=obj.project_id),
            "plain_key": request.plain_key,  # type: ignore[attr-defined]
            "list_url": self.url_of("changelist"),
        }
        response = TemplateResponse(request, "admin/teams/projectapikey/made.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ProjectAPIKey]) -> None:
        revoked = sum(services.revoke_api_key(key_id) for key_id in queryset.values_list("pk", flat=True))
        messages.success(request, f"{revoked} revoked.")
