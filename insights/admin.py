"""Reports in the admin: who wants them how often, what became of each, and another try for those that need one."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from insights import composition, services
from insights.errors import ReportNotSendable
from insights.models import Report, ReportPreference, ReportState
from query.admin import ReadOnly
from teams.admin import ChoosesById
from teams.models import User


@admin.register(ReportPreference)
class ReportPreferenceAdmin(ChoosesById, admin.ModelAdmin[ReportPreference]):
    list_display = ["user", "team", "frequency", "updated_at"]
    list_filter = ["frequency", "team"]
    list_select_related = ["user", "team"]
    search_fields = ["user__email", "team__name"]
    autocomplete_fields = ["user", "team"]
    fields = ["user", "team", "frequency"]

    def get_readonly_fields(self, request: HttpRequest, obj: ReportPreference | None = None) -> list[str]:
        """Whose it is stays: links in mails are bound to it."""
        return ["user", "team"] if obj else []


@admin.register(Report)
class ReportAdmin(ReadOnly, admin.ModelAdmin[Report]):
    list_display = ["user", "team", "frequency", "period_start", "state", "error", "attempts", "created_at", "sent_at"]
    list_filter = ["state", "frequency", "team"]
    show_facets = admin.ShowFacets.ALWAYS
    list_select_related = ["user", "team"]
    search_fields = ["user__email", "team__name", "id"]
    show_full_result_count = False
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

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """A row is what keeps a report from being sent twice."""
        return False

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("insights.change_report")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
        if composition.mail_server() is None:
            messages.info(request, composition.NOT_SWITCHED_ON)
        unknown = Report.objects.filter(state=ReportState.UNKNOWN).count()
        if unknown and "state__exact" not in request.GET and request.method == "GET":
            messages.warning(
                request,
                f"{unknown} reports may have been sent, or not: their sender ended in between. Filter by the state"
                " “fate unknown”, and send them again if you would rather have them arrive twice than not at all.",
            )
        return super().changelist_view(request, extra_context)

    @admin.action(description="Send again (failed, or of unknown fate)", permissions=["resend"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Report]) -> None:
        assert isinstance(request.user, User)
        done = 0
        for report in queryset:
            try:
                services.send_again(report.pk, by=request.user.email)
            except ReportNotSendable as error:
                messages.warning(request, f"{report.user}, {report}: {error}")
            else:
                done += 1
                self.log_change(request, report, "Sent again.")
        if done:
            messages.success(request, f"{done} are due again, and sent within minutes.")
