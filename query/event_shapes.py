"""The shapes of a streamed answer's events, as the description tells them. query/event_stream.py writes them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

from query.serializers import ChatAnswer, FoundSources

Shape = type[serializers.Serializer[Any]]


class EventName(serializers.CharField):
    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()


class EventData(serializers.CharField):
    """JSON of the shape that a serializer states."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        super().__init__()


class EventNameDescription(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = EventName

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"const": self.target.name}


class EventDataDescription(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = EventData

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        shape = auto_schema.resolve_serializer(self.target.shape, direction).ref
        return {"type": "string", "contentMediaType": "application/json", "contentSchema": shape}


class Refusal(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True, help_text="The field or parameter at fault, where it is one.")


class WrittenText(serializers.Serializer[Any]):
    text = serializers.CharField(help_text="What follows on what has been sent.")


class ToldError(serializers.Serializer[Any]):
    """The body of an error, with what would have been its status and its Retry-After."""

    type = serializers.CharField()
    errors = Refusal(many=True)  # type: ignore[assignment]  # the field of that name, not the serializer's faults
    status = serializers.IntegerField()
    retry_after_s = serializers.IntegerField(allow_null=True)


class SourcesEvent(serializers.Serializer[Any]):
    event = EventName("sources")
    data = EventData(FoundSources)  # type: ignore[assignment]  # the field of that name, not the serializer's input


class DeltaEvent(serializers.Serializer[Any]):
    event = EventName("delta")
    data = EventData(WrittenText)  # type: ignore[assignment]


class DoneEvent(serializers.Serializer[Any]):
    event = EventName("done")
    data = EventData(ChatAnswer)  # type: ignore[assignment]


class ErrorEvent(serializers.Serializer[Any]):
    event = EventName("error")
    data = EventData(ToldError)  # type: ignore[assignment]


STREAMED_EVENT = PolymorphicProxySerializer(
    component_name="StreamedEvent",
    serializers=[SourcesEvent, DeltaEvent, DoneEvent, ErrorEvent],
    resource_type_field_name=None,
    many=False,
)
