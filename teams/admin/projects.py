"""Projects in the admin, and the way from each to all that is its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

from teams import deletion
from teams.admin.base import OperatorAdmin, RelatedFilter
from teams.models import Project, User

WHAT_GOES_WITH_IT = (
    "Its keys open nothing from this moment; its conversations, documents and categories are erased in the background."
)


@admin.register(Project)
class ProjectAdmin(OperatorAdmin[Project]):
    list_display = ["name", "team", "id", "retention_days", "created_at"]
    list_filter = [("team", RelatedFilter)]
    list_select_related = ["team"]
    search_fields = ["name", "team__name"]
    autocomplete_fields = ["team"]
    readonly_fields = ["id", "created_at", "updated_at"]
    change_form_outer_before_template = "admin/teams/project/links.html"

    def delete_model(self, request: HttpRequest, obj: Project) -> None:
        assert isinstance(request.user, User)
        deletion.delete_project(obj.pk, asked_by=request.user.email)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        for project in queryset:
            self.delete_model(request, project)

    def get_deleted_objects(
        self, objs: Iterable[Project], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Only the projects: all that is their own may be too much to list."""
        names = [f"{project} ({project.team}). {WHAT_GOES_WITH_IT}" for project in objs]
        return names, {str(Project._meta.verbose_name_plural): len(names)}, set(), []

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = {**(extra_context or {}), "links": self._links(request, object_id) if object_id else []}
        return super().changeform_view(request, object_id, form_url, context)

    def _links(self, request: HttpRequest, project_id: str) -> list[tuple[str, str]]:
        """The lists of everything that belongs to projects, of this one alone, as far as it may be looked at."""
        links = []
        for model, model_admin in self.admin_site._registry.items():
            if not _belongs_to_a_project(model) or not model_admin.has_view_permission(request):
                continue
            options = model._meta
            url = reverse(f"{self.admin_site.name}:{options.app_label}_{options.model_name}_changelist")
            links.append((str(capfirst(options.verbose_name_plural)), f"{url}?project__id__exact={project_id}"))
        return sorted(links)


def _belongs_to_a_project(model: type[Model]) -> bool:
    try:
        return model._meta.get_field("project").related_model is Project
    except FieldDoesNotExist:
        return False
