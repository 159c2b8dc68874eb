"""Taxonomies and their categories in the admin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from categorisation import services
from categorisation.admin.actors import actor_of
from categorisation.errors import CategorisationError
from categorisation.models import Category, Taxonomy
from categorisation.services.categories import MAX_DESCRIPTION_LENGTH, MAX_EXAMPLE_LENGTH, MAX_EXAMPLES
from categorisation.titles import MAX_TITLE_LENGTH, validate_title
from teams.admin import OperatorAdmin, RelatedFilter

MOST_LANES = 2_000
WHAT_HAPPENS_TO_ITS_THREADS = (
    "Its threads are classified anew, those that a person gave it included; to move them to another category, delete it"
    " by API with reassign_to."
)


class Lines(forms.Field):
    """Texts, one a line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        """By the texts as they are shown: one that the API was given over several lines stays as it is."""
        shown = str(self.prepare_value(initial) or "")
        return shown.splitlines() != str(data or "").splitlines()

    def validate(self, value: list[str]) -> None:
        if len(value) > MAX_EXAMPLES:
            raise forms.ValidationError(f"At most {MAX_EXAMPLES} lines.")
        if any(len(line) > MAX_EXAMPLE_LENGTH for line in value):
            raise forms.ValidationError(f"At most {MAX_EXAMPLE_LENGTH} characters a line.")
        if any("\0" in line for line in value):
            raise forms.ValidationError("Null characters are not allowed.")


class Paragraphs(forms.CharField):
    """Text whose lines end as they do in the API; browsers send them otherwise."""

    widget = UnfoldAdminTextareaWidget

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n").replace("\r", "\n")


class CategoryForm(forms.ModelForm[Category]):
    title = forms.CharField(max_length=MAX_TITLE_LENGTH, validators=[validate_title], widget=UnfoldAdminTextInputWidget)
    description = Paragraphs(max_length=MAX_DESCRIPTION_LENGTH, required=False)
    examples = Lines(required=False, help_text="Sample questions, one a line.")

    class Meta:
        model = Category
        fields = ["project", "title", "description", "examples"]


@admin.register(Category)
class CategoryAdmin(OperatorAdmin[Category]):
    form = CategoryForm
    list_display = ["title", "project", "is_predefined", "created_at", "updated_at"]
    list_filter = [
        ("project", RelatedFilter),
        ("project__team", RelatedFilter),
        ("is_predefined", BooleanRadioFilter),
    ]
    list_select_related = ["project"]
    search_fields = ["title", "description", "project__name"]
    autocomplete_fields = ["project"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Category]:
        return super().get_queryset(request).filter(deleted_at=None)

    def get_readonly_fields(self, request: HttpRequest, obj: Category | None = None) -> list[str]:
        return [] if obj is None else ["project", "is_predefined", "cues", "created_at", "updated_at"]

    def save_model(self, request: HttpRequest, obj: Category, form: Any, change: bool) -> None:
        texts = {name: form.cleaned_data[name] for name in ("title", "description", "examples")}
        if change:
            changes = {name: text for name, text in texts.items() if name in form.changed_data}
            services.change_category(project_id=obj.project_id, category_id=obj.pk, changes=changes)
            return
        obj.pk = services.create_category(project_id=obj.project_id, **texts).pk

    def delete_model(self, request: HttpRequest, obj: Category) -> None:
        services.delete_category(project_id=obj.project_id, category_id=obj.pk, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Category]) -> None:
        for category in queryset:
            self.delete_model(request, category)

    def get_deleted_objects(
        self, objs: Iterable[Category], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Only the categories themselves: their threads are labelled anew, not deleted, and may be too many to list."""
        titles = [f"{category}. {WHAT_HAPPENS_TO_ITS_THREADS}" for category in objs]
        return titles, {str(Category._meta.verbose_name_plural): len(titles)}, set(), []

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            response: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
            return response
        except CategorisationError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)


class TaxonomyForm(forms.ModelForm[Taxonomy]):
    max_lanes = forms.IntegerField(
        label="classifications at a time",
        required=False,
        min_value=1,
        max_value=MOST_LANES,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=Taxonomy._meta.get_field("max_lanes").help_text,
    )

    class Meta:
        model = Taxonomy
        fields = ["is_enabled", "max_lanes", "backfill_is_suspended"]


@admin.register(Taxonomy)
class TaxonomyAdmin(OperatorAdmin[Taxonomy]):
    """The off switch and the limits of a project's classification."""

    form = TaxonomyForm
    list_display = ["project", "version", "is_enabled", "max_lanes", "backfill_is_suspended"]
    list_display_links = ["project"]
    list_filter = [
        ("is_enabled", BooleanRadioFilter),
        ("backfill_is_suspended", BooleanRadioFilter),
        ("project", RelatedFilter),
        ("project__team", RelatedFilter),
    ]
    list_select_related = ["project"]
    search_fields = ["project__name"]
    readonly_fields = ["project", "version"]
    fields = ["project", "version", "is_enabled", "max_lanes", "backfill_is_suspended"]
    actions = ["start_backfill"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Taxonomy | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Taxonomy, form: Any, change: bool) -> None:
        """Only what was changed here: the version moves with every change of the categories."""
        obj.save(update_fields=form.changed_data)

    @admin.action(description="Start a backfill", permissions=["change"])
    def start_backfill(self, request: HttpRequest, queryset: QuerySet[Taxonomy]) -> None:
        for taxonomy in queryset.select_related("project"):
            try:
                services.start_backfill(project_id=taxonomy.project_id, actor=actor_of(request))
            except CategorisationError as error:
                messages.warning(request, f"{taxonomy.project}: {error}")
            else:
                messages.success(request, f"{taxonomy.project}: a backfill was started.")
