"""The HTTP calls of threads with their labels. They translate; services decide."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from categorisation import selectors, services
from categorisation.serializers import Label, LabelledThreadFilters
from categorisation.services import Actor
from query.api import ThreadViewSet
from query.lists import ThreadList
from query.models import Thread
from query.selectors import find_thread
from query.serializers import ThreadDetail
from teams.permissions import key_of

A_LABEL = OpenApiExample("A category", request_only=True, value={"category": "2f0c8a44-6b1e-4f7f-9a55-1f2b3c4d5e6f"})
NONE_OF_THEM = OpenApiExample("None of them", request_only=True, value={"category": None})


@extend_schema_view(
    list=extend_schema(summary="List threads, newest first", parameters=[LabelledThreadFilters]),
    retrieve=extend_schema(summary="Read a thread with its exchanges"),
)
class LabelledThreadViewSet(ThreadViewSet):
    """A project's conversations, and people's decisions on their category."""

    scopes: ClassVar[dict[str, str]] = {**ThreadViewSet.scopes, "partial_update": "label", "forget_label": "label"}
    filter_serializer_class = LabelledThreadFilters

    def apply_filters(self, queryset: QuerySet[Thread], filters: dict[str, Any]) -> ThreadList:
        threads = super().apply_filters(queryset, filters)
        return threads.with_labels(selectors.labels_that_show(self.kwargs["project_id"], filters))

    @extend_schema(
        summary="Decide on a thread's category",
        description="The decision is final: the classifier never changes it, not even `null`, which says that no "
        "category applies.",
        request=Label,
        responses=ThreadDetail,
        examples=[A_LABEL, NONE_OF_THEM],
    )
    def partial_update(self, request: Request, project_id: UUID, thread_id: UUID) -> Response:
        find_thread(thread_id, project_id)
        label = Label(data=request.data)
        label.is_valid(raise_exception=True)
        services.assign_label(
            project_id=project_id,
            thread_id=thread_id,
            category_id=label.validated_data["category"],
            actor=Actor.of_key(key_of(request)),
        )
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        summary="Forget a decision on a thread's category",
        description="The thread is unlabelled again and classified anew. A label of the classifier's stays.",
        request=None,
        responses={204: None},
    )
    def forget_label(self, request: Request, project_id: UUID, thread_id: UUID) -> Response:
        services.forget_label(project_id=project_id, thread_id=thread_id, actor=Actor.of_key(key_of(request)))
        return Response(status=status.HTTP_204_NO_CONTENT)
