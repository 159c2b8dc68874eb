"""Reports in the admin: who wants them how often, what became of each, and another try for those that need one."""

from __future__ import annotations

from typing import Any

from auditlog.models import LogEntry
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import mark_safe
from unfold.contrib.filters.admin import ChoicesRadioFilter

from insights import composition, services
from insights.errors import ReportNotSendable
from insights.models import Report, ReportPreference, ReportState
from teams import audit
from teams.admin import OnlyToLookAt, OperatorAdmin, PeriodFilter, RelatedFilter
from teams.models import User

MOST = 1_000
UNKNOWN_ARE_TOLD = (
    "{count} may have been sent, or not: their sender ended in between."
    ' Those <a class="text-link" href="?state__exact=unknown">of unknown fate</a> are never sent again by themselves:'
    " do it here if you would rather have them arrive twice than not at all."
)


@admin.register(ReportPreference)
class ReportPreferenceAdmin(OperatorAdmin[ReportPreference]):
    list_display = ["user", "team", "frequency", "updated_at"]
    list_filter = [("frequency", ChoicesRadioFilter), ("team", RelatedFilter)]
    list_select_related = ["user", "team"]
    search_fields = ["user__email", "team__name"]
    autocomplete_fields = ["user", "team"]
    fields = ["user", "team", "frequency"]

    def get_readonly_fields(self, request: HttpRequest, obj: ReportPreference | None = None) -> list[str]:
        """Whose it is stays: links in mails are bound to it."""
        return ["user", "team"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: ReportPreference | None = None) -> bool:
        """It would undo an unsubscription, and mails' links would lead nowhere. Without a choice is one of them."""
        return False


@admin.register(Report)
class ReportAdmin(OnlyToLookAt, OperatorAdmin[Report]):
    """A row is what keeps a report from being sent twice: nobody deletes it."""

    list_display = ["user", "team", "frequency", "period_start", "state", "error", "created_at", "sent_at"]
    list_filter = [
        ("state", ChoicesRadioFilter),
        ("frequency", ChoicesRadioFilter),
        ("team", RelatedFilter),
        ("user", RelatedFilter),
        ("created_at", PeriodFilter),
    ]
    list_select_related = ["user", "team"]
    search_fields = ["user__email", "team__name"]
    sortable_by = ["created_at"]
    actions = ["send_again"]
    fields = [
        "user",
        "team",
        "frequency",
        "period_start",
        "period_end",
        "time_zone",
        "state",
        "error",
        "attempts",
        "act_after",
        "send_until",
        "sent_again_by",
        "created_at",
        "sent_at",
    ]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Who may change reports may have them sent again; their rows are changed by nobody."""
        return request.user.has_perm("insights.change_report")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET":
            self._tell_what_matters(request)
        page: HttpResponse = super().changelist_view(request, extra_context)
        return page

    def _tell_what_matters(self, request: HttpRequest) -> None:
        if composition.mail_server() is None:
            messages.info(request, composition.NOT_SWITCHED_ON)
        unknown = Report.objects.filter(state=ReportState.UNKNOWN)[:MOST].count()
        if unknown:
            count = f"{MOST:,} reports or more" if unknown == MOST else f"{unknown} report{'s' if unknown > 1 else ''}"
            messages.warning(request, mark_safe(UNKNOWN_ARE_TOLD.format(count=count)))  # noqa: S308 - a number in it

    @admin.action(description="Send again (failed, or of unknown fate)", permissions=["resend"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Report]) -> None:
        assert isinstance(request.user, User)
        done = 0
        for report in queryset.select_related("user"):
            try:
                services.send_again(report.pk, by=request.user.email)
            except ReportNotSendable as error:
                messages.warning(request, f"{report.user}, {report}: {error}")
            else:
                done += 1
                audit.record(report, LogEntry.Action.UPDATE, {"state": [report.state, ReportState.DUE.value]})
        if done:
            messages.success(request, f"{done} due again, and sent within minutes.")
