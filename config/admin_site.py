"""The admin as a whole: what it is called, and where in its sidebar each page stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.contrib.admin import ModelAdmin
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

if TYPE_CHECKING:  # unfold has no types
    from django.contrib.admin import AdminSite
else:
    from unfold.sites import UnfoldAdminSite as AdminSite


class Entry(NamedTuple):
    """A model's list in the sidebar."""

    model: str
    title: str
    icon: str


SECTIONS: dict[str, list[Entry]] = {
    "Who": [
        Entry("teams.team", "Teams", "groups"),
        Entry("teams.user", "Users", "person"),
        Entry("auth.group", "Groups", "shield_person"),
        Entry("teams.project", "Projects", "robot_2"),
        Entry("teams.projectapikey", "API keys", "key"),
    ],
    "What bots know": [
        Entry("knowledge.document", "Documents", "description"),
        Entry("knowledge.library", "Libraries", "database"),
        Entry("knowledge.reindexing", "Reindexings", "published_with_changes"),
    ],
    "Conversations": [
        Entry("query.thread", "Threads", "forum"),
        Entry("query.erasure", "Erasures", "delete_forever"),
    ],
    "Categories and runs": [
        Entry("categorisation.category", "Categories", "label"),
        Entry("categorisation.taxonomy", "Classification", "tune"),
        Entry("categorisation.run", "Runs", "play_circle"),
    ],
    "Reports by e-mail": [
        Entry("insights.report", "Reports", "mail"),
        Entry("insights.reportpreference", "Who wants them how often", "notifications"),
    ],
    "Background work": [
        Entry("categorisation.batch", "Batches at work", "conveyor_belt"),
        Entry("categorisation.classifierhealth", "Classifiers' health", "ecg_heart"),
        Entry("django_celery_beat.periodictask", "Schedule", "schedule"),
    ],
    "Audit trail": [
        Entry("auditlog.logentry", "Who changed what", "history"),
    ],
}
FLOWER = "Queues and workers (Flower)"


class ParleyAdminConfig(AdminConfig):
    """Django's admin application with this site."""

    default_site = "config.admin_site.ParleyAdminSite"


class ParleyAdminSite(AdminSite):
    """The admin."""

    index_title = "Operating Parley"

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Pages by name; a page of results that is not there is the first one."""
        if request.GET.get("page", "1") != "1":
            first = request.GET.copy()
            first["page"] = "1"
            request.GET = first  # type: ignore[assignment]
        response: TemplateResponse = super().search(request, extra_context)  # type: ignore[misc]
        return response

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The first page's sections, which are the sidebar's."""
        apps_of_django: list[Any] = super().get_app_list(request, app_label)
        if app_label is not None:
            return apps_of_django
        models = {model["model"]._meta.label_lower: model for app in apps_of_django for model in app["models"]}
        sections = []
        for title, section in SECTIONS.items():
            shown = [models[entry.model] | {"name": entry.title} for entry in section if entry.model in models]
            if shown:
                sections.append({"name": title, "app_label": "", "app_url": shown[0]["admin_url"], "models": shown})
        return sections

    def navigation(self, request: HttpRequest) -> list[dict[str, Any]]:
        """The sidebar: what of each section this user may look at."""
        return [
            {"title": title, "separator": True, "items": self._items(section, request)}
            for title, section in SECTIONS.items()
        ]

    def _find(self, label: str) -> ModelAdmin[Any] | None:
        """The pages of a model, unless its application is not installed."""
        try:
            return self._registry.get(apps.get_model(label))
        except LookupError:
            return None

    def _items(self, section: list[Entry], request: HttpRequest) -> list[dict[str, Any]]:
        items = []
        for entry in section:
            model_admin = self._find(entry.model)
            if model_admin is not None and model_admin.has_view_permission(request):
                url = reverse(f"{self.name}:{entry.model.replace('.', '_')}_changelist")
                items.append({"title": entry.title, "icon": entry.icon, "link": url})
        if section is SECTIONS["Background work"] and settings.FLOWER_URL:
            items.append({"title": FLOWER, "icon": "lan", "link": settings.FLOWER_URL})
        return items


def build_navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """What unfold's settings name."""
    from django.contrib import admin

    assert isinstance(admin.site, ParleyAdminSite)
    return admin.site.navigation(request)
