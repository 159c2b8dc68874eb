"""Conversations in the admin: to read, not to rewrite. A label is changed where labels live."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.postgres.search import SearchQuery
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesRadioFilter

from query import erasing
from query.models import CREATED_AT_BY_UTC, FIRST_QUESTION_WORDS, QuestionAnswer, Thread
from teams.admin import OperatorAdmin, PagedStackedInline, PeriodFilter, ReadOnly, RelatedFilter, read_id, show_as_label
from teams.models import User

LONGEST_SHOWN = 160


class QuestionAnswerInline(ReadOnly, PagedStackedInline[QuestionAnswer, Thread]):
    """What was asked and answered."""

    model = QuestionAnswer
    fields = ["question", "standalone_question", "answer", "is_uncertain", "relevant_sources", "timings", "created_at"]
    ordering = ["created_at", "id"]
    can_delete = False


class UncertainFilter(BooleanRadioFilter):  # type: ignore[misc]  # unfold has no types
    """Whether the bot was uncertain."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "uncertain answers"


class BeganFilter(PeriodFilter):
    """By when they began, in the order of the list."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> QuerySet[Thread]:
        return self.restrict(queryset.alias(began=CREATED_AT_BY_UTC), "began")


@admin.register(Thread)
class ThreadAdmin(ReadOnly, OperatorAdmin[Thread]):
    list_display = ["asked", "project", "category", "category_source", "certainty", "began"]
    list_filter = [
        ("project", RelatedFilter),
        ("project__team", RelatedFilter),
        ("category_source", ChoicesRadioFilter),
        ("is_uncertain", UncertainFilter),
        ("created_at", BeganFilter),
    ]
    list_select_related = ["project", "category"]
    search_fields = ["first_question"]
    search_help_text = "Words of the first question, or a conversation's id"
    sortable_by = ["began"]
    list_disable_select_all = True
    inlines = [QuestionAnswerInline]

    def get_ordering(self, request: HttpRequest) -> Any:
        """Newest first, by an index of all threads, or of a project's."""
        is_of_one_project = bool(request.GET.get("project__id__exact"))
        return ["-created_at" if is_of_one_project else CREATED_AT_BY_UTC.desc(), "-id"]

    @admin.display(description="first question")
    def asked(self, thread: Thread) -> str:
        return Truncator(thread.first_question).chars(LONGEST_SHOWN)

    @admin.display(description="created at", ordering=CREATED_AT_BY_UTC)
    def began(self, thread: Thread) -> datetime:
        return thread.created_at

    @show_as_label("answers", {"uncertain": "warning"})
    def certainty(self, thread: Thread) -> str:
        return "uncertain" if thread.is_uncertain else ""

    def delete_model(self, request: HttpRequest, obj: Thread) -> None:
        self.delete_queryset(request, Thread.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        """With all that belongs to them, and as a record that they were."""
        assert isinstance(request.user, User)
        erasing.erase_selected(list(queryset.order_by().values_list("pk", flat=True)), asked_by=request.user.email)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Only the conversations: all that belongs to them goes with them, and may be too much to list."""
        questions = [f"{thread.first_question[:80]}, with its answers and the history of its label" for thread in objs]
        return questions, {str(Thread._meta.verbose_name_plural): len(questions)}, set(), []

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Thread], search_term: str
    ) -> tuple[QuerySet[Thread], bool]:
        """By whole words, as the API does: an index has them."""
        if not search_term.strip() or read_id(search_term):
            return super().get_search_results(request, queryset, search_term)
        words = SearchQuery(search_term, config="simple", search_type="plain")
        return queryset.alias(words=FIRST_QUESTION_WORDS).filter(words=words), False
