"""Conversations in the admin: to read, not to rewrite. A label is changed where labels live."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from query.models import QuestionAnswer, Thread


class ReadOnly:
    """What people said stays as they said it."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class QuestionAnswerInline(ReadOnly, admin.StackedInline[QuestionAnswer, Thread]):
    model = QuestionAnswer
    fields = ["question", "standalone_question", "answer", "is_uncertain", "relevant_sources", "timings", "created_at"]
    ordering = ["created_at", "id"]
    extra = 0
    can_delete = False


@admin.register(Thread)
class ThreadAdmin(ReadOnly, admin.ModelAdmin[Thread]):
    list_display = ["first_question", "project", "category", "category_source", "is_uncertain", "created_at"]
    list_filter = ["category_source", "is_uncertain", "project__team"]
    list_select_related = ["project", "category"]
    search_fields = ["first_question", "id"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    inlines = [QuestionAnswerInline]


@admin.register(QuestionAnswer)
class QuestionAnswerAdmin(ReadOnly, admin.ModelAdmin[QuestionAnswer]):
    list_display = ["question", "thread", "is_uncertain", "created_at"]
    list_filter = ["is_uncertain"]
    list_select_related = ["thread"]
    search_fields = ["question", "answer"]
    show_full_result_count = False
