"""The shapes of conversations over HTTP."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from knowledge.serializers import MetadataField, Text
from query.models import QuestionAnswer, Thread
from query.selectors import SHOWN_AS_THEY_ARE
from query.services import Asker
from teams.fields import QueryParameters, WholeNumber

MAX_QUESTION_LENGTH = 10_000
MAX_FILTERS = 20
MAX_FILTER_LENGTH = 1_000
MAX_SHOWN = 100
_METADATA_PREFIX = re.compile(r"^(?:document\.)?metadata\.")


class IdField(serializers.UUIDField):
    """A UUID as a string: a number is not taken for one."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class QuestionText(Text):
    """A question: some text that is not only space, or characters that nobody sees; 10,000 characters at most."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=MAX_QUESTION_LENGTH, **options)

    def to_internal_value(self, data: Any) -> str:
        question = super().to_internal_value(data)
        if all(unicodedata.category(character)[0] in "CZ" for character in question):
            self.fail("blank")
        return question


class FollowUpQuestion(serializers.Serializer[Any]):
    question = QuestionText(required=False, help_text="The question; `query` is another name for it.")
    query = QuestionText(required=False, help_text="Another name for `question`.")

    further_rules: ClassVar = {"anyOf": [{"required": ["question"]}, {"required": ["query"]}]}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        query = attrs.pop("query", None)
        question = attrs.get("question", query)
        if question is None:
            raise serializers.ValidationError({"question": ["This field is required."]}, code="required")
        return {**attrs, "question": question}


class ChatUser(serializers.Serializer[Any]):
    email = serializers.EmailField(required=False, allow_blank=True, max_length=320)
    unique_client_id = Text(required=False, allow_blank=True, max_length=200)
    metadata = MetadataField(required=False)


class ChatMetadata(serializers.Serializer[Any]):
    origin_url = Text(required=False, allow_blank=True, max_length=2000)


class ChatQuestion(FollowUpQuestion):
    thread_id = IdField(required=False, allow_null=True, help_text="Continue this thread.")
    user = ChatUser(required=False, allow_null=True)
    metadata = ChatMetadata(required=False, allow_null=True)

    def asker(self) -> Asker:
        """What the validated body tells of the person who asks."""
        user = self.validated_data.get("user") or {}
        metadata = self.validated_data.get("metadata") or {}
        return Asker(**user, origin_url=metadata.get("origin_url", ""))


class RelevantSource(serializers.Serializer[Any]):
    title = serializers.CharField()
    source_url = serializers.CharField()
    snippet = serializers.CharField()


class Timings(serializers.Serializer[Any]):
    embed_ms = serializers.FloatField()
    retrieve_ms = serializers.FloatField()
    generate_ms = serializers.FloatField()
    total_ms = serializers.FloatField()


class ChatAnswer(serializers.Serializer[QuestionAnswer]):
    question = serializers.CharField()
    answer = serializers.CharField(help_text="Markdown; `[n]` outside code refers to `relevant_sources[n-1]`.")
    question_answer_id = serializers.UUIDField(source="id")
    thread_id = serializers.UUIDField()
    is_uncertain = serializers.BooleanField(help_text="The documents hold no answer that the bot would stand by.")
    relevant_sources = RelevantSource(many=True)
    timings = Timings()


class FoundSources(serializers.Serializer[Any]):
    """What a streamed answer may cite, before it is written."""

    relevant_sources = RelevantSource(many=True)


@extend_schema_field(
    {
        "type": "object",
        "maxProperties": MAX_FILTERS,
        "propertyNames": {"maxLength": MAX_FILTER_LENGTH},
        "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": MAX_FILTER_LENGTH},
    }
)
class Filters(serializers.DictField):
    """Names of metadata, and the values that a document must have there: texts, numbers, true or false."""

    def to_internal_value(self, data: Any) -> dict[str, str | int | float | bool]:
        if not isinstance(data, dict):
            self.fail("not_a_dict", input_type=type(data).__name__)
        if len(data) > MAX_FILTERS:
            raise serializers.ValidationError(f"At most {MAX_FILTERS} names are taken.")
        wanted: dict[str, str | int | float | bool] = {}
        for written, value in data.items():
            name = _METADATA_PREFIX.sub("", written)
            if name in wanted:
                raise serializers.ValidationError(f"{written[:MAX_SHOWN]} is named twice.")
            wanted[name] = self._check(written, value)
        return wanted

    def _check(self, name: str, value: Any) -> str | int | float | bool:
        if len(name) > MAX_FILTER_LENGTH or (isinstance(value, str) and len(value) > MAX_FILTER_LENGTH):
            raise serializers.ValidationError(f"Names and values have at most {MAX_FILTER_LENGTH} characters.")
        if not isinstance(value, str | int | float | bool):
            raise serializers.ValidationError(f"{name[:MAX_SHOWN]}: a text, a number, true or false is expected.")
        return value


class RetrievalQuestion(serializers.Serializer[Any]):
    query = QuestionText()
    top_k = WholeNumber(min_value=1, max_value=50, default=10)
    filters = Filters(
        required=False,
        help_text=(
            "Only documents whose metadata has these values: `{name: value}`. A name may be written as the vector "
            "database's filters have it, `document.metadata.name`, or as `metadata.name`."
        ),
    )


class RetrievedPassage(serializers.Serializer[Any]):
    chunk_id = serializers.CharField()
    document_id = serializers.UUIDField()
    title = serializers.CharField()
    source_url = serializers.CharField()
    content = serializers.CharField()
    score = serializers.FloatField(help_text="Larger is better; comparable within one answer only.")


class RetrievalResults(serializers.Serializer[Any]):
    results = RetrievedPassage(many=True)


class CategoryOfThread(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()


class ThreadRow(serializers.ModelSerializer[Thread]):
    """A thread as lists show it: for a deleted category the one that it was replaced by, or no label at all."""

    category = serializers.SerializerMethodField()
    category_source = serializers.SerializerMethodField()
    category_confidence = serializers.SerializerMethodField()

    class Meta:
        model = Thread
        fields = [
            "id",
            "project",
            *SHOWN_AS_THEY_ARE,
            "category",
            "category_source",
            "category_confidence",
        ]
        read_only_fields = fields

    def to_representation(self, instance: Thread) -> dict[str, Any]:
        """What the fields one by one would give, at a quarter of their time: a page has a hundred rows."""
        return {
            "id": instance.pk,
            "project": instance.project_id,
            **{name: getattr(instance, name) for name in SHOWN_AS_THEY_ARE},
            "category": self.get_category(instance),
            "category_source": self.get_category_source(instance),
            "category_confidence": self.get_category_confidence(instance),
        }

    @extend_schema_field(CategoryOfThread(allow_null=True))
    def get_category(self, thread: Thread) -> dict[str, Any] | None:
        category = thread.shown_category
        return None if category is None else {"id": category.pk, "title": category.title}

    @extend_schema_field(serializers.ChoiceField(["classifier", "user"], allow_null=True))
    def get_category_source(self, thread: Thread) -> str | None:
        return None if thread.is_hidden_label else thread.category_source

    @extend_schema_field(serializers.FloatField(allow_null=True, min_value=0, max_value=1))
    def get_category_confidence(self, thread: Thread) -> float | None:
        # the classifier's confidence was in the category that it gave
        return thread.category_confidence if thread.shown_category == thread.category else None


class Exchange(serializers.ModelSerializer[QuestionAnswer]):
    relevant_sources = RelevantSource(many=True)
    feedback = serializers.SerializerMethodField(help_text="The votes on this answer.")

    class Meta:
        model = QuestionAnswer
        fields = ["id", "question", "answer", "is_uncertain", "relevant_sources", "feedback", "created_at"]

    def get_feedback(self, exchange: QuestionAnswer) -> list[dict[str, str]]:
        return []


class ThreadDetail(ThreadRow):
    question_answers = Exchange(many=True, read_only=True)

    class Meta(ThreadRow.Meta):
        fields = [*ThreadRow.Meta.fields, "question_answers"]
        read_only_fields = fields

    def to_representation(self, instance: Thread) -> dict[str, Any]:
        exchanges = Exchange(instance.question_answers.all(), many=True).data
        return {**super().to_representation(instance), "question_answers": exchanges}


class ThreadFilters(QueryParameters):
    """The query parameters that narrow a list of threads."""

    created_after = serializers.DateTimeField(required=False, help_text="Begun at this time or later.")
    created_before = serializers.DateTimeField(required=False, help_text="Begun before this time.")
    updated_since = serializers.DateTimeField(required=False, help_text="Changed at this time or later.")
    is_uncertain = serializers.BooleanField(required=False)
    search = serializers.CharField(
        required=False, max_length=500, help_text="Words of the first question, all of them."
    )
