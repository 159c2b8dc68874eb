"""The shapes of categories and labels over HTTP."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from categorisation.models import Category, ReclassifyScope, Run, RunKind, RunState
from categorisation.services.categories import (
    MAX_CATEGORIES,
    MAX_DESCRIPTION_LENGTH,
    MAX_EXAMPLE_LENGTH,
    MAX_EXAMPLES,
)
from categorisation.services.previews import DEFAULT_SAMPLE_SIZE, MAX_SAMPLE_SIZE
from categorisation.titles import MAX_TITLE_LENGTH, fold_title, validate_title
from knowledge.serializers import Text
from query.models import CategorySource
from query.serializers import IdField, ThreadFilters
from teams.fields import QueryParameters, WholeNumber

NO_CATEGORY = "null"


@extend_schema_field({"oneOf": [{"type": "string", "format": "uuid"}, {"const": NO_CATEGORY}]})
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
        max_length=MAX_TITLE_LENGTH,
        validators=[validate_title],
        help_text="Unique in the project without regard to case or surrounding space.",
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


class CategoryDeletion(QueryParameters):
    """The query parameters of a deletion. Others are refused: a misspelt `reassign_to` would lose people's labels."""

    reassign_to = IdField(
        required=False, help_text="Move the category's threads to this one, instead of classifying them anew."
    )

    def to_internal_value(self, data: Any) -> Any:
        if unknown := set(data) - set(self.fields):
            reason = "A deletion knows only the query parameter `reassign_to`."
            raise serializers.ValidationError({str(name): [reason] for name in sorted(unknown)}, code="unknown")
        return super().to_internal_value(data)


class Label(serializers.Serializer[Any]):
    """A person's decision on a thread; null says that no category applies."""

    category = IdField(allow_null=True)

    further_rules: ClassVar = {"required": ["category"], "additionalProperties": False}

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


class CategoryOfSample(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()


class DraftCount(serializers.Serializer[Any]):
    title = serializers.CharField()
    threads = serializers.IntegerField()


class PreviewRow(serializers.Serializer[Any]):
    current = CategoryOfSample(allow_null=True, help_text="What the threads show now; null: no category.")
    draft = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="How many of them would be of each draft category, in the draft's order.",
    )


class RunResult(serializers.Serializer[Any]):
    """What came out: `reused` of any run but a preview, the rest of a preview that is done."""

    reused = serializers.IntegerField(
        required=False, help_text="Threads that got the label of another one with the same first question."
    )
    sample = serializers.IntegerField(required=False, help_text="Threads in the sample.")
    failed = serializers.IntegerField(required=False, help_text="Threads of the sample that could not be classified.")
    counts = DraftCount(many=True, required=False, help_text="Threads per draft category.")
    table = PreviewRow(many=True, required=False, help_text="Current category by draft category.")
    estimated_classifications = serializers.IntegerField(
        required=False, help_text="How many classifications it takes to label the whole project anew."
    )
    estimated_seconds = serializers.FloatField(
        required=False, allow_null=True, help_text="How long these take, as the sample's went."
    )


class RunRow(serializers.ModelSerializer[Run]):
    eta_seconds = serializers.FloatField(
        read_only=True, allow_null=True, help_text="Time left at the measured pace; null while that is not known."
    )
    result = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = [
            "id",
            "kind",
            "state",
            "total",
            "done",
            "failed",
            "started_at",
            "finished_at",
            "eta_seconds",
            "result",
        ]
        read_only_fields = fields

    @extend_schema_field(RunResult(allow_null=True))
    def get_result(self, run: Run) -> dict[str, Any] | None:
        if run.kind != RunKind.PREVIEW:
            return {"reused": run.reused}
        return run.result if run.state == RunState.DONE else None


class RunStart(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=[RunKind.BACKFILL.value])


class ReclassifyStart(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(
        choices=ReclassifyScope.choices,
        help_text="`all` labels that the classifier gave, those given under an older taxonomy (`stale`), or those of "
        "one `category`.",
    )
    category = IdField(required=False, allow_null=True, help_text="With the scope `category`: which.")

    further_rules: ClassVar = {
        "oneOf": [
            {
                "properties": {"scope": {"const": ReclassifyScope.CATEGORY.value}, "category": {"type": "string"}},
                "required": ["category"],
            },
            {
                "properties": {
                    "scope": {"not": {"const": ReclassifyScope.CATEGORY.value}},
                    "category": {"type": "null"},
                }
            },
        ]
    }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        is_named = attrs.get("category") is not None
        is_needed = attrs["scope"] == ReclassifyScope.CATEGORY
        if is_needed and not is_named:
            raise serializers.ValidationError({"category": ["This field is required."]}, code="required")
        if is_named and not is_needed:
            raise serializers.ValidationError({"category": ["Only with the scope `category`."]}, code="invalid")
        return attrs


class PreviewStart(serializers.Serializer[Any]):
    categories = serializers.ListField(child=CategoryDraft(), min_length=1, max_length=MAX_CATEGORIES)
    sample_size = WholeNumber(min_value=1, max_value=MAX_SAMPLE_SIZE, default=DEFAULT_SAMPLE_SIZE)

    def validate_categories(self, drafts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        titles = [fold_title(draft["title"]) for draft in drafts]
        if len(set(titles)) < len(titles):
            raise serializers.ValidationError("Two of them have the same title.", code="duplicate")
        return drafts
