"""How every room reads what clients send, where Django REST framework is too kind."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from rest_framework import serializers

GIVEN_TWICE = "is given more than once"


class WholeNumber(serializers.IntegerField):
    """A JSON number without a fraction: a text is not taken for one."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class QueryParameters(serializers.Serializer[Any]):
    """What a call reads from its query string, passed on as it is. A parameter that stands there twice is refused."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, QueryDict):
            twice = {str(name): [GIVEN_TWICE] for name in self.fields if len(data.getlist(str(name))) > 1}
            if twice:
                raise serializers.ValidationError(twice, code="repeated")
            data = data.dict()
        return dict(super().to_internal_value(data))
