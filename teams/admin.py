"""Teams, users, projects and keys in the admin. A key's plain text is shown once, when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from teams import services
from teams.models import Project, ProjectAPIKey, Scope, Team, User


class IdSelect(AutocompleteSelect):
    """A choice by id, in which a crafted value that is no id is a wrong choice, not an error of the page."""

    def optgroups(self, name: str, value: Sequence[str], attrs: dict[str, Any] | None = None) -> Any:
        return super().optgroups(name, [each for each in value if not each or _is_id(each)], attrs)


class ChoosesById:
    """Lets `autocomplete_fields` that refer to rows by UUID stand any value."""

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):  # type: ignore[attr-defined]
            kwargs["widget"] = IdSelect(db_field, self.admin_site)  # type: ignore[attr-defined]
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


@admin.register(Team)
class TeamAdmin(admin.ModelAdmin[Team]):
    list_display = ["name", "time_zone", "created_at"]
    search_fields = ["name"]


class UserCreationForm(AdminUserCreationForm[User]):
    class Meta:
        model = User
        fields = ("email",)


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User]):
    add_form = UserCreationForm
    ordering = ["email"]
    list_display = ["email", "name", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff", "teams"]
    search_fields = ["email", "name"]
    filter_horizontal = ["teams", "groups", "user_permissions"]
    readonly_fields = ["last_login", "created_at"]
    fieldsets = [
        (None, {"fields": ["email", "password"]}),
        ("Person", {"fields": ["name", "teams"]}),
        ("Rights", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Times", {"fields": ["last_login", "created_at"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "usable_password", "password1", "password2"]})]


@admin.register(Project)
class ProjectAdmin(ChoosesById, admin.ModelAdmin[Project]):
    list_display = ["name", "team", "id", "created_at"]
    list_filter = ["team"]
    list_select_related = ["team"]
    search_fields = ["name", "team__name", "id"]
    autocomplete_fields = ["team"]
    readonly_fields = ["id", "created_at", "updated_at"]

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        """Its library, its conversations and their history have to go with it: more than a page of the admin does."""
        return False


class APIKeyForm(forms.ModelForm[ProjectAPIKey]):
    scopes = forms.MultipleChoiceField(choices=Scope.choices, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ProjectAPIKey
        fields = ["project", "name", "scopes", "calls_per_minute", "expires_at"]

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if expires_at is not None and "expires_at" in self.changed_data and expires_at <= timezone.now():
            raise forms.ValidationError("This lies in the past.")
        return expires_at


@admin.register(ProjectAPIKey)
class ProjectAPIKeyAdmin(ChoosesById, admin.ModelAdmin[ProjectAPIKey]):
    form = APIKeyForm
    list_display = ["name", "project", "shown_part", "scopes", "expires_at", "revoked_at", "last_used_at"]
    list_filter = ["project__team", "revoked_at"]
    list_select_related = ["project"]
    search_fields = ["name", "shown_part", "project__name"]
    autocomplete_fields = ["project"]
    actions = ["revoke"]

    def get_readonly_fields(self, request: HttpRequest, obj: ProjectAPIKey | None = None) -> list[str]:
        if obj is None:
            return []
        return ["project", "shown_part", "created_at", "revoked_at", "last_used_at"]

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
        messages.warning(request, f"The key is {plain} - copy it now, it is not shown again.")

    @admin.action(description="Revoke the selected keys")
    def revoke(self, request: HttpRequest, queryset: QuerySet[ProjectAPIKey]) -> None:
        revoked = sum(services.revoke_api_key(key.pk) for key in queryset)
        messages.success(request, f"{revoked} revoked.")
