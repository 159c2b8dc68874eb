"""Runs in the admin, and what works on them: to look at, and to pause, resume, cancel and start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from unfold.contrib.filters.admin import ChoicesRadioFilter

from categorisation import services
from categorisation.admin.actors import actor_of
from categorisation.errors import CategorisationError
from categorisation.models import Batch, ClassifierHealth, Run, RunKind, RunState
from teams.admin import OnlyToLookAt, OperatorAdmin, PeriodFilter, RelatedFilter, show_as_label


def link_to_worker(name: str) -> str:
    """The worker's name, with a link to its page in Flower where somebody said where that is."""
    if not settings.FLOWER_URL:
        return name
    url = f"{settings.FLOWER_URL.rstrip('/')}/worker/{quote(name, safe='@')}"
    return format_html('<a class="text-link" href="{}">{}</a>', url, name)


@admin.register(Run)
class RunAdmin(OnlyToLookAt, OperatorAdmin[Run]):
    list_display = [
        "kind",
        "project",
        "stands",
        "progress",
        "given_up",
        "reused",
        "pace",
        "time_left",
        "started_by",
        "started_at",
    ]
    list_filter = [
        ("state", ChoicesRadioFilter),
        ("kind", ChoicesRadioFilter),
        ("project", RelatedFilter),
        ("project__team", RelatedFilter),
        ("started_at", PeriodFilter),
    ]
    list_select_related = ["project"]
    search_fields = ["project__name", "started_by"]
    sortable_by = ["kind", "started_at"]
    actions = ["pause", "resume", "cancel", "start_backfill"]
    fields = [
        "project",
        "kind",
        "state",
        "scope",
        "category",
        "limit",
        "taxonomy_version",
        "progress",
        "given_up",
        "reused",
        "pace",
        "time_left",
        "workers",
        "started_by_kind",
        "started_by",
        "started_at",
        "finished_at",
        "events",
        "draft",
        "sample_size",
        "result",
    ]

    @show_as_label("state", {"running": "info", "paused": "warning", "done": "success"})
    def stands(self, run: Run) -> str:
        return run.state

    @admin.display(description="done")
    def progress(self, run: Run) -> str:
        if run.measured_at is None:
            return "not counted yet"
        share = f" ({(run.done + run.failed) / run.total:.0%})" if run.total else ""
        return f"{run.done:,} of {run.total:,}{share}"

    @admin.display(description="given up")
    def given_up(self, run: Run) -> str:
        if not run.failed or run.kind == RunKind.PREVIEW:
            return str(run.failed)
        query = urlencode({"classification": "given_up", "project__id__exact": str(run.project_id)})
        return format_html(
            '<a class="text-link" href="{}?{}">{}</a>', reverse("admin:query_thread_changelist"), query, run.failed
        )

    @admin.display(description="a second")
    def pace(self, run: Run) -> str:
        return "" if run.rate_per_s is None else f"{run.rate_per_s:,.1f}"

    @admin.display(description="time left")
    def time_left(self, run: Run) -> str:
        return "" if run.eta_seconds is None else str(timedelta(seconds=round(run.eta_seconds)))

    @admin.display(description="workers at runs")
    def workers(self, run: Run) -> str:
        """Those that are at work now; each works on all that run."""
        if run.state != RunState.RUNNING:
            return ""
        names = services.fresh_batches().order_by("worker").values_list("worker", flat=True).distinct()
        return format_html_join(", ", "{}", ((link_to_worker(name),) for name in names))

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Who may change runs may tell them what to do; their rows are changed by nobody."""
        return request.user.has_perm("categorisation.change_run")

    @admin.action(description="Pause", permissions=["steer"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._steer(request, queryset, services.pause_run)

    @admin.action(description="Resume", permissions=["steer"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._steer(request, queryset, services.resume_run)

    @admin.action(description="Cancel", permissions=["steer"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._steer(request, queryset, services.cancel_run)

    @admin.action(description="Start a backfill of the project", permissions=["steer"])
    def start_backfill(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        projects = queryset.order_by().values_list("project", "project__name").distinct()
        for project_id, name in projects:
            try:
                services.start_backfill(project_id=project_id, actor=actor_of(request))
            except CategorisationError as error:
                messages.warning(request, f"{name}: {error}")
            else:
                messages.success(request, f"{name}: a backfill was started.")

    def _steer(self, request: HttpRequest, runs: QuerySet[Run], act: Callable[..., Run]) -> None:
        for run in runs:
            try:
                changed = act(project_id=run.project_id, run_id=run.pk, actor=actor_of(request))
            except CategorisationError as error:
                messages.warning(request, f"{run}: {error}")
            else:
                messages.success(request, f"{run}: {changed.state}.")


@admin.register(Batch)
class BatchAdmin(OnlyToLookAt, OperatorAdmin[Batch]):
    """Workers at the backfill. One that was not seen for ten seconds is dead."""

    list_display = ["worker", "lanes", "is_draining", "started_at", "seen_at", "tasks"]
    fields = ["worker", "lanes", "is_draining", "started_at", "seen_at", "tasks"]

    @admin.display(description="its tasks")
    def tasks(self, batch: Batch) -> str:
        return link_to_worker(batch.worker) if settings.FLOWER_URL else ""


@admin.register(ClassifierHealth)
class ClassifierHealthAdmin(OnlyToLookAt, OperatorAdmin[ClassifierHealth]):
    """Whether classifiers are well. While one is not, nothing is claimed for it."""

    list_display = ["classifier", "open_until", "openings", "successes", "last_error", "updated_at"]
