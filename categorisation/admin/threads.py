"""Conversations in the admin with their labels: decided on as a person does, with their history."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import RadioFilter

from categorisation import services
from categorisation.admin.actors import actor_of
from categorisation.models import Category, LabelChange
from query.admin import ThreadAdmin
from query.models import MAX_ATTEMPTS, Thread
from teams.admin import OperatorAdmin, PagedTabularInline, ReadOnly

NO_LABEL = "unlabelled"


class ClassificationFilter(RadioFilter):  # type: ignore[misc]  # unfold has no types
    """Finds the threads that trouble the classifier."""

    title = "classification"
    parameter_name = "classification"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "waiting"), ("retrying", "failed, to be tried again"), ("given_up", "given up")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> QuerySet[Thread]:
        given_up = Q(classify_attempts__gte=MAX_ATTEMPTS)
        conditions = {
            "waiting": Q(classify_attempts=0),
            "retrying": Q(classify_attempts__gt=0) & ~given_up,
            "given_up": given_up,
        }
        chosen = conditions.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen, category=None, category_source=None)


class LabelForm(forms.ModelForm[Thread]):
    class Meta:
        model = Thread
        fields = ["category"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "category" in self.fields:
            choices = Category.objects.filter(project_id=self.instance.project_id, deleted_at=None)
            self.fields["category"].queryset = choices  # type: ignore[attr-defined]
            # what is shown, not what the row bears: saving the page without a change is no decision
            self.initial["category"] = getattr(self.instance.shown_category, "pk", None)


class LabelChangeInline(ReadOnly, PagedTabularInline[LabelChange, Thread]):
    """The history of a thread's label."""

    model = LabelChange
    verbose_name_plural = "history of the label"
    fields = ["at", "actor_kind", "actor", "was", "became", "run"]
    readonly_fields = ["at", "actor_kind", "actor", "was", "became", "run"]
    ordering = ["-id"]
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[LabelChange]:
        return super().get_queryset(request).select_related("from_category", "to_category", "run")

    @admin.display(description="from")
    def was(self, change: LabelChange) -> str:
        return _describe_label(change.from_category, change.from_source)

    @admin.display(description="to")
    def became(self, change: LabelChange) -> str:
        return _describe_label(change.to_category, change.to_source)


def _describe_label(category: Category | None, source: str | None) -> str:
    if source is None:
        return NO_LABEL
    if category is None:
        return f"none of them ({source})"
    return f"{category.title} ({source}{', deleted since' if category.deleted_at else ''})"


admin.site.unregister(Thread)


@admin.register(Thread)
class LabelledThreadAdmin(ThreadAdmin):
    """Conversations, whose label alone can be changed: by whoever does it here, as a person's decision."""

    form = LabelForm
    list_display = ["asked", "project", "label", "certainty", "began"]
    inlines = [*ThreadAdmin.inlines, LabelChangeInline]
    list_filter = [*ThreadAdmin.list_filter, ClassificationFilter]
    readonly_fields = [field.name for field in Thread._meta.fields if field.name != "category"]
    fieldsets = [
        (None, {"fields": ["first_question", "project", "is_uncertain", "total_questions", "created_at", "id"]}),
        (
            "Label",
            {
                "fields": [
                    "category",
                    "category_source",
                    "category_confidence",
                    "categorised_at",
                    "category_taxonomy_version",
                ]
            },
        ),
        (
            "Who asked",
            {"fields": ["user_email", "user_unique_client_id", "user_metadata", "origin_url", "external_id"]},
        ),
        (
            "Behind the scenes",
            {"fields": ["classify_after", "classify_attempts", "classify_run", "last_activity_at", "updated_at"]},
        ),
    ]
    actions = ["decide_on_none", "forget_labels", "try_again"]
    actions_in_bulk = ["try_again"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return OperatorAdmin.has_change_permission(self, request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        return super().get_queryset(request).select_related("project", "category__reassigned_to")

    @admin.display(description="label")
    def label(self, thread: Thread) -> str:
        """As reads show it: without deleted categories."""
        return _describe_label(thread.shown_category, None if thread.is_hidden_label else thread.category_source)

    def save_model(self, request: HttpRequest, obj: Thread, form: Any, change: bool) -> None:
        if "category" in form.changed_data:
            services.assign_label(
                project_id=obj.project_id, thread_id=obj.pk, category_id=obj.category_id, actor=actor_of(request)
            )

    @admin.action(description="Decide that no category applies", permissions=["change"])
    def decide_on_none(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        for thread in queryset:
            services.assign_label(
                project_id=thread.project_id, thread_id=thread.pk, category_id=None, actor=actor_of(request)
            )

    @admin.action(description="Forget people's decisions, and classify anew", permissions=["change"])
    def forget_labels(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        actor = actor_of(request)
        forgotten = sum(
            services.forget_label(project_id=thread.project_id, thread_id=thread.pk, actor=actor) for thread in queryset
        )
        messages.success(request, f"{forgotten} forgotten.")

    @admin.action(description="Try again to classify", permissions=["change"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        messages.success(request, f"{services.retry_classification(queryset)} will be tried again.")
