"""What every page of the admin has in common: lists that stay quick over millions of rows, and one audit trail."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from auditlog.registry import auditlog
from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.views.main import ERROR_FLAG
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet, UUIDField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.dateparse import parse_date
from django.utils.functional import cached_property
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeDateFilter
from unfold.contrib.filters.forms import AutocompleteDropdownForm
from unfold.forms import PaginationInlineFormSet

from teams import audit

if TYPE_CHECKING:  # unfold has no types; its classes have the methods of Django's
    from django.contrib.admin import ModelAdmin, StackedInline, TabularInline
else:
    from unfold.admin import ModelAdmin, StackedInline, TabularInline

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Model)
P = TypeVar("P", bound=Model)

COUNTED_ROWS = 10_000
ROWS_A_PAGE = 50
FIRST_YEAR, LAST_YEAR = 1900, 9000
PAGE_NUMBER = re.compile(r"[1-9][0-9]{0,3}")
BACK_TO_ROW = "_back_to_row"  # sent by a row's own page with an action: where to be afterwards


def read_id(text: str) -> UUID | None:
    """The id that a text is, or None."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


class BoundedPaginator(Paginator[Any]):
    """Counts so many rows and no more, and has pages for these: whoever looks for others filters."""

    template_name = "admin/bounded_pagination.html"
    counted_rows = COUNTED_ROWS

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: COUNTED_ROWS + 1].count())

    @property
    def has_more(self) -> bool:
        return self.count > COUNTED_ROWS


def show_as_label(description: str, colours: Mapping[str, str] | None = None) -> Callable[[F], F]:
    """A column whose values stand out, in the colours that unfold calls info, success, warning and danger."""

    def mark(function: F) -> F:
        function.short_description = description  # type: ignore[attr-defined]
        function.label = dict(colours or {})  # type: ignore[attr-defined]
        return function

    return mark


class ByKey:
    """A choice by key, in which a crafted value that is no key is a wrong choice, not an error of the page."""

    def optgroups(self, name: str, value: Sequence[str], attrs: dict[str, Any] | None = None) -> Any:
        read_key = self.field.remote_field.model._meta.pk.to_python  # type: ignore[attr-defined]
        keys = [each for each in value if not each or _is_read(read_key, each)]
        return super().optgroups(name, keys, attrs)  # type: ignore[misc]


def _is_read(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except ValidationError:
        return False
    return True


class KeySelect(ByKey, AutocompleteSelect):
    """One row, looked for by name."""


class KeySelectMultiple(ByKey, AutocompleteSelectMultiple):
    """Several rows, looked for by name."""


class ByKeyForm(AutocompleteDropdownForm):  # type: ignore[misc]  # unfold has no types
    widget = KeySelect


class RelatedFilter(AutocompleteSelectFilter):  # type: ignore[misc]
    """Chooses among as many rows as there are: they are looked for by name, not listed."""

    form_class = ByKeyForm


class PeriodFilter(RangeDateFilter):  # type: ignore[misc]
    """From one day to another, both included, by UTC."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self.restrict(queryset, self.field_path)

    def restrict(self, queryset: QuerySet[Any], column: str) -> QuerySet[Any]:
        """The rows whose column lies in the period."""
        first = _midnight(self.used_parameters.get(f"{self.parameter_name}_from"))
        last = _midnight(self.used_parameters.get(f"{self.parameter_name}_to"))
        if first is not None:
            queryset = queryset.filter(**{f"{column}__gte": first})
        if last is not None:
            queryset = queryset.filter(**{f"{column}__lt": last + timedelta(days=1)})
        return queryset


def _midnight(text: object) -> datetime | None:
    """When the day begins, unless the text is none; days of which no calendar is sure are none either."""
    try:
        day = parse_date(str(text))
    except ValueError:
        return None
    if day is None or not FIRST_YEAR <= day.year <= LAST_YEAR:
        return None
    return datetime.combine(day, time.min, tzinfo=UTC)


class OperatorAdmin(ModelAdmin[M]):
    """A model's pages. Nothing of them counts or lists a whole table, and none costs a query a row.

    Changes are recorded by the audit trail (teams.audit), not by Django's own log of the admin, which would keep what
    a row was called (of a conversation: its question) for good.
    """

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = ROWS_A_PAGE
    list_max_show_all = ROWS_A_PAGE
    list_filter_submit = True
    list_fullwidth = True
    warn_unsaved_form = True
    change_form_outer_before_template = "admin/row_actions.html"
    most_selected = 1_000
    records_itself = False  # its own code writes to the audit trail, which otherwise sees rows saved
    actions_in_bulk: Collection[str] = ()  # those that take any number of rows in one statement

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if any("\0" in value for _, values in request.GET.lists() for value in values):  # PostgreSQL holds none
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")
        return super().changelist_view(request, extra_context)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = KeySelect(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = KeySelectMultiple(db_field, self.admin_site)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        """By `search_fields`; a whole id finds its row at once."""
        wanted = read_id(search_term) if isinstance(self.model._meta.pk, UUIDField) else None
        if wanted is not None:
            return queryset.filter(pk=wanted), False
        return super().get_search_results(request, queryset, search_term)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = {
            **(extra_context or {}),
            "row_actions": self._row_actions(request) if object_id else [],
            "show_history": self.is_audited,
        }
        return super().changeform_view(request, object_id, form_url, context)

    @property
    def is_audited(self) -> bool:
        """Whether the audit trail tells what becomes of its rows."""
        return self.records_itself or auditlog.contains(self.model)

    def _row_actions(self, request: HttpRequest) -> list[tuple[str, str]]:
        """What can be done with one row on its own page: the actions of the list."""
        if IS_POPUP_VAR in request.GET:
            return []
        choices = self.get_action_choices(request, [])
        return [(name, str(description)) for name, description in choices if name not in ("", "delete_selected")]

    def response_action(self, request: HttpRequest, queryset: QuerySet[M], *args: Any) -> HttpResponse | None:
        if self._is_too_much(request, queryset):
            messages.error(request, f"That is too much at once: filter for at most {self.most_selected:,}.")
            return None
        response = super().response_action(request, queryset, *args)
        row = request.POST.get(BACK_TO_ROW)
        if row is None or not isinstance(response, HttpResponseRedirect):
            return response
        return HttpResponseRedirect(self.url_of("change", row))

    def _is_too_much(self, request: HttpRequest, queryset: QuerySet[M]) -> bool:
        """Whether an action for all rows of a list would go through more of them than a request has time for."""
        if request.POST.get("select_across", "0") == "0" or request.POST.get("action") in self.actions_in_bulk:
            return False
        return queryset[: self.most_selected + 1].count() > self.most_selected

    def url_of(self, page: str, *args: object) -> str:
        """The address of one of the model's pages: `changelist`, `add`, `change`."""
        options = self.model._meta
        return reverse(f"{self.admin_site.name}:{options.app_label}_{options.model_name}_{page}", args=args)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row's part of the audit trail."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(audit.url_of_trail(self.model, object_id))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """See the audit trail."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """See the audit trail."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """See the audit trail."""


class ReadOnly:
    """Rows that nobody writes here."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class OnlyToLookAt(ReadOnly):
    """Written by the machinery alone."""

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class PagedFormSet(PaginationInlineFormSet):  # type: ignore[misc]
    """Rows of an inline, a page at a time."""

    def get_page_num(self) -> int:
        key = self.get_pagination_key()
        text = self.request.GET.get(key) or self.request.POST.get(key) or ""
        return (
            int(text) if len(text) < len(str(COUNTED_ROWS)) and text.isascii() and text.isdigit() and text > "0" else 1
        )


class PagedTabularInline(TabularInline[M, P]):
    formset = PagedFormSet
    per_page = ROWS_A_PAGE
    extra = 0


class PagedStackedInline(StackedInline[M, P]):
    formset = PagedFormSet
    per_page = ROWS_A_PAGE
    extra = 0
