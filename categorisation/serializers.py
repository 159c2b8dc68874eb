"""The shapes of categories and labels over HTTP."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from categorisation.models import Category
from categorisation.services.categories import (
    MAX_DESCRIPTION_LENGTH,
    MAX_EXAMPLE_LENGTH,
    MAX_EXAMPLES,
    MAX_TITLE_LENGTH,
)
from knowledge.serializers import Text
from query.models import CategorySource
from query.serializers import IdField, ThreadFilters

NO_CATEGORY = "null"


class CategoryIdOrNull(IdField):
    """In a query: a category's id, or the word `null` for threads without one."""

    def to_internal_value(self, data: Any) -> Any:
        return None if data == NO_CATEGORY else super().to_internal_value(data)


class CategoryRow(serializers.ModelSerializer[Category]):
    class Meta:
        model = Category
        fields = ["id", "title", "description", "examples", "is_predefined", "created_at", "updated_at"]
        read_only_fields = fields


class ChangedCategory(CategoryRow):
    reclassify_suggested = serializers.BooleanField(
        read_only=True, help_text="Whether labels given so far may be stale: nothing is re-labelled unasked."
    )

    class Meta(CategoryRow.Meta):
        fields = [*CategoryRow.Meta.fields, "reclassify_suggested"]
        read_only_fields = fields


class CategoryDraft(serializers.Serializer[Any]):
    """A category as a client writes it. What is left out is empty, or, in a PATCH, stays."""

    title = Text(
        max_length=MAX_TITLE_LENGTH, help_text="Unique in the project without regard to case or surrounding space."
    )
    description = Text(
        max_length=MAX_DESCRIPTION_LENGTH,
        allow_blank=True,
        default="",
        help_text="What belongs here; the classifier reads it.",
    )
    examples = serializers.ListField(
        child=Text(max_length=MAX_EXAMPLE_LENGTH),
        max_length=MAX_EXAMPLES,
        default=list,
        help_text="Sample questions; the classifier reads them.",
    )


class CategoryDeletion(serializers.Serializer[Any]):
    """The query parameters of a deletion."""

    reassign_to = IdField(
        required=False, help_text="Move the category's threads to this one, instead of classifying them anew."
    )


class Label(serializers.Serializer[Any]):
    """A person's decision on a thread; null says that no category applies."""

    category = IdField(allow_null=True)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := set(data) - set(self.fields)):
            reason = "Only `category` can be changed."
            raise serializers.ValidationError({str(name): [reason] for name in sorted(unknown)}, code="unknown")
        return super().to_internal_value(data)


class LabelledThreadFilters(ThreadFilters):
    category = CategoryIdOrNull(required=False, help_text="A category's id, or `null`: threads without a category.")
    category_source = serializers.ChoiceField(
        choices=CategorySource.choices, required=False, help_text="Who gave the label."
    )
