"""Categories and labels in the admin, which changes them as the API does: through the services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from categorisation import services
from categorisation.errors import CategorisationError
from categorisation.models import Category, Taxonomy
from categorisation.services import Actor
from categorisation.services.categories import MAX_DESCRIPTION_LENGTH, MAX_EXAMPLE_LENGTH, MAX_EXAMPLES
from query.admin import ThreadAdmin
from query.models import MAX_ATTEMPTS, Thread
from teams.admin import ChoosesById
from teams.models import User


def _actor_of(request: HttpRequest) -> Actor:
    assert isinstance(request.user, User)
    return Actor.of_user(request.user)


class Lines(forms.Field):
    """Texts, one a line."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]

    def validate(self, value: list[str]) -> None:
        if len(value) > MAX_EXAMPLES:
            raise forms.ValidationError(f"At most {MAX_EXAMPLES} lines.")
        if any(len(line) > MAX_EXAMPLE_LENGTH for line in value):
            raise forms.ValidationError(f"At most {MAX_EXAMPLE_LENGTH} characters a line.")
        if any("\0" in line for line in value):
            raise forms.ValidationError("Null characters are not allowed.")


class CategoryForm(forms.ModelForm[Category]):
    description = forms.CharField(widget=forms.Textarea, max_length=MAX_DESCRIPTION_LENGTH, required=False)
    examples = Lines(required=False, help_text="Sample questions, one a line.")

    class Meta:
        model = Category
        fields = ["project", "title", "description", "examples"]


@admin.register(Category)
class CategoryAdmin(ChoosesById, admin.ModelAdmin[Category]):
    form = CategoryForm
    list_display = ["title", "project", "is_predefined", "created_at", "updated_at"]
    list_filter = ["is_predefined", "project__team"]
    list_select_related = ["project"]
    search_fields = ["title", "description", "project__name", "id"]
    autocomplete_fields = ["project"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Category]:
        return super().get_queryset(request).filter(deleted_at=None)

    def get_readonly_fields(self, request: HttpRequest, obj: Category | None = None) -> list[str]:
        return [] if obj is None else ["project", "is_predefined", "cues", "created_at", "updated_at"]

    def save_model(self, request: HttpRequest, obj: Category, form: Any, change: bool) -> None:
        texts = {name: form.cleaned_data[name] for name in ("title", "description", "examples")}
        if change:
            services.change_category(project_id=obj.project_id, category_id=obj.pk, changes=texts)
            return
        obj.pk = services.create_category(project_id=obj.project_id, **texts).pk

    def delete_model(self, request: HttpRequest, obj: Category) -> None:
        services.delete_category(project_id=obj.project_id, category_id=obj.pk, actor=_actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Category]) -> None:
        for category in queryset:
            self.delete_model(request, category)

    def get_deleted_objects(
        self, objs: Iterable[Category], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Only the categories themselves: their threads are labelled anew, not deleted, and may be too many to list."""
        titles = [str(category) for category in objs]
        return titles, {str(Category._meta.verbose_name_plural): len(titles)}, set(), []

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except CategorisationError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)


@admin.register(Taxonomy)
class TaxonomyAdmin(admin.ModelAdmin[Taxonomy]):
    """The off switch of a project's classification."""

    list_display = ["project", "version", "is_enabled"]
    list_filter = ["is_enabled", "project__team"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__id"]
    readonly_fields = ["project", "version"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Taxonomy | None = None) -> bool:
        return False


class ClassificationFilter(admin.SimpleListFilter):
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


admin.site.unregister(Thread)


@admin.register(Thread)
class LabelledThreadAdmin(ThreadAdmin):
    """Conversations, whose label alone can be changed: by whoever does it here, as a person's decision."""

    form = LabelForm
    list_filter = [*ThreadAdmin.list_filter, ClassificationFilter]
    readonly_fields = [field.name for field in Thread._meta.fields if field.name != "category"]
    actions = ["decide_on_none", "forget_labels", "try_again"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def save_model(self, request: HttpRequest, obj: Thread, form: Any, change: bool) -> None:
        if "category" in form.changed_data:
            services.assign_label(
                project_id=obj.project_id, thread_id=obj.pk, category_id=obj.category_id, actor=_actor_of(request)
            )

    @admin.action(description="Decide that no category applies", permissions=["change"])
    def decide_on_none(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        for thread in queryset:
            services.assign_label(
                project_id=thread.project_id, thread_id=thread.pk, category_id=None, actor=_actor_of(request)
            )

    @admin.action(description="Forget people's decisions, and classify anew", permissions=["change"])
    def forget_labels(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        actor = _actor_of(request)
        forgotten = sum(
            services.forget_label(project_id=thread.project_id, thread_id=thread.pk, actor=actor) for thread in queryset
        )
        messages.success(request, f"{forgotten} forgotten.")

    @admin.action(description="Try again to classify", permissions=["change"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        messages.success(request, f"{services.retry_classification(queryset)} will be tried again.")
