"""Teams, users and groups in the admin."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.forms import AdminPasswordChangeForm, UserChangeForm
from unfold.forms import UserCreationForm as BaseUserCreationForm

from teams import deletion
from teams.admin.base import OperatorAdmin, RelatedFilter
from teams.admin.projects import WHAT_GOES_WITH_IT
from teams.models import Project, Team, User

WHAT_GOES_WITH_A_USER = (
    "What they chose about reports, and the record of those that were sent to them, goes as well;"
    " the audit trail goes on naming them."
)


@admin.register(Team)
class TeamAdmin(OperatorAdmin[Team]):
    list_display = ["name", "time_zone", "created_at"]
    search_fields = ["name"]

    def delete_model(self, request: HttpRequest, obj: Team) -> None:
        assert isinstance(request.user, User)
        deletion.delete_team(obj.pk, asked_by=request.user.email)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Team]) -> None:
        for team in queryset:
            self.delete_model(request, team)

    def get_deleted_objects(
        self, objs: Iterable[Team], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """The teams and their projects: all that is theirs may be too much to list."""
        teams = list(objs)
        projects = Project.objects.filter(team__in=teams).order_by("team", "name").select_related("team")
        names = [f"{team}. Its users stay, and are no longer in it." for team in teams]
        names += [f"{project} ({project.team}). {WHAT_GOES_WITH_IT}" for project in projects]
        counts = {Team: len(teams), Project: len(names) - len(teams)}
        return names, {str(model._meta.verbose_name_plural): number for model, number in counts.items()}, set(), []


class UserCreationForm(BaseUserCreationForm):  # type: ignore[misc]  # unfold has no types
    class Meta:
        model = User
        fields = ("email",)


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], OperatorAdmin[User]):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    ordering = ["email"]
    list_display = ["email", "name", "is_active", "is_staff", "last_login"]
    list_filter = [
        ("is_active", BooleanRadioFilter),
        ("is_staff", BooleanRadioFilter),
        ("is_superuser", BooleanRadioFilter),
        ("teams", RelatedFilter),
    ]
    search_fields = ["email", "name"]
    autocomplete_fields = ["teams", "groups"]
    filter_horizontal = ["user_permissions"]
    readonly_fields = ["last_login", "created_at"]
    fieldsets = [
        (None, {"fields": ["email", "password"]}),
        ("Person", {"fields": ["name", "teams"]}),
        ("Rights", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Times", {"fields": ["last_login", "created_at"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "usable_password", "password1", "password2"]})]

    def get_deleted_objects(
        self, objs: Iterable[User], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Only the users: what goes with them is deleted by nobody alone, whatever permissions they have."""
        names = [f"{user}. {WHAT_GOES_WITH_A_USER}" for user in objs]
        return names, {str(User._meta.verbose_name_plural): len(names)}, set(), []


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, OperatorAdmin[Group]):
    """Sets of permissions."""
