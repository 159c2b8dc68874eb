"""Erasures in the admin: begun, looked at, cancelled. Workers carry them out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesRadioFilter
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from query import erasing
from query.criteria import Criterion
from query.errors import ErasureIsOver
from query.models import Erasure
from teams.admin import OnlyToLookAt, OperatorAdmin, PeriodFilter, show_as_label
from teams.models import User

WHOSE = "As chats gave it as"
NO_CRITERION = "Say which conversations: whose, of which project, or idle since when; or tick all of them."


class ErasureForm(forms.ModelForm[Erasure]):
    """Counts what is to be erased, and wants it to be confirmed."""

    user_email = forms.CharField(
        max_length=320,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=f"{WHOSE} user.email; case does not matter.",
        label="e-mail address",
    )
    user_unique_client_id = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=f"{WHOSE} user.unique_client_id. With both, either is enough.",
        label="client's id",
    )
    every_one = forms.BooleanField(
        required=False, widget=UnfoldBooleanWidget, label="all conversations of all projects"
    )
    is_confirmed = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget,
        label="erase them for good",
        help_text="Without it they are only counted.",
    )

    class Meta:
        model = Erasure
        fields = ["project", "user_email", "user_unique_client_id", "idle_since"]
        help_texts = {"idle_since": "Those in which nothing was asked then or later (UTC)."}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        criterion = self.criterion()
        if criterion.is_met_by_all != bool(cleaned.get("every_one")):
            raise forms.ValidationError(NO_CRITERION)
        if criterion.idle_since is not None and criterion.idle_since > timezone.now():
            raise forms.ValidationError({"idle_since": "This lies in the future."})
        if not cleaned.get("is_confirmed"):
            number = criterion.find_threads().count()
            raise forms.ValidationError(
                f"{number:,} conversations meet this. Tick the last box to erase them for good."
            )
        return cleaned

    def criterion(self) -> Criterion:
        """What the form says."""
        cleaned = self.cleaned_data
        project = cleaned.get("project")
        return Criterion(
            project_id=None if project is None else project.pk,
            email=cleaned.get("user_email", ""),
            client_id=cleaned.get("user_unique_client_id", ""),
            idle_since=cleaned.get("idle_since"),
        )


@admin.register(Erasure)
class ErasureAdmin(OnlyToLookAt, OperatorAdmin[Erasure]):
    """The record of what was erased, by whom and when; whose it was, it does not tell.

    Who cancelled one stands in the audit trail.
    """

    form = ErasureForm
    records_itself = True
    list_display = ["started_at", "reason", "of", "stands", "progress", "asked_by", "finished_at"]
    list_filter = [("state", ChoicesRadioFilter), ("reason", ChoicesRadioFilter), ("started_at", PeriodFilter)]
    search_fields = ["project_name", "asked_by"]
    sortable_by = ["started_at"]
    autocomplete_fields = ["project"]
    actions = ["cancel"]
    asked_for = ["project", "user_email", "user_unique_client_id", "idle_since", "every_one", "is_confirmed"]
    recorded = ["reason", "of", "idle_since", "state", "progress", "asked_by", "started_at", "finished_at"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return OperatorAdmin.has_add_permission(self, request)

    def get_fields(self, request: HttpRequest, obj: Erasure | None = None) -> Any:
        return self.asked_for if obj is None else self.recorded

    @admin.display(description="conversations of")
    def of(self, erasure: Erasure) -> str:
        whose = "a person" if erasure.user_email_digest or erasure.user_unique_client_id_digest else "everybody"
        where = erasure.project_name or "all projects"
        return "chosen ones" if erasure.reason == Erasure.Reason.SELECTED else f"{whose}, {where}"

    @show_as_label("state", {"open": "info", "done": "success"})
    def stands(self, erasure: Erasure) -> str:
        return erasure.state

    @admin.display(description="erased")
    def progress(self, erasure: Erasure) -> str:
        return "not counted yet" if erasure.total is None else f"{erasure.erased:,} of {erasure.total:,}"

    def save_model(self, request: HttpRequest, obj: Erasure, form: Any, change: bool) -> None:
        assert isinstance(request.user, User)
        begun = erasing.begin(form.criterion(), asked_by=request.user.email, erasure_id=obj.pk)
        obj.started_at = begun.started_at

    @admin.action(description="Cancel", permissions=["add"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Erasure]) -> None:
        for erasure in queryset:
            try:
                erasing.cancel(erasure.pk)
            except ErasureIsOver as error:
                messages.warning(request, f"{erasure}: {error}")
            else:
                messages.success(request, f"{erasure}: what is not erased yet stays.")
