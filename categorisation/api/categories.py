"""The HTTP calls of categories. They translate; services decide."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from categorisation import selectors, services
from categorisation.models import Category
from categorisation.serializers import CategoryDeletion, CategoryDraft, CategoryRow, ChangedCategory
from categorisation.services import Actor
from teams.permissions import key_of
from teams.views import KeyView

CAREERS = {
    "title": "Careers",
    "description": "Asking for open positions, internships or how to apply.",
    "examples": ["Are you hiring in Zurich?", "Do you offer internships?"],
}
A_DRAFT = OpenApiExample("A new category", request_only=True, value=CAREERS)
A_CHANGE = OpenApiExample(
    "A correction", request_only=True, value={"description": "Asking for open positions, or how to apply."}
)
A_CHANGED_CATEGORY = OpenApiExample(
    "A category that was changed",
    response_only=True,
    status_codes=["200", "201"],
    value={
        "id": "2f0c8a44-6b1e-4f7f-9a55-1f2b3c4d5e6f",
        **CAREERS,
        "is_predefined": False,
        "created_at": "2026-01-31T09:30:00Z",
        "updated_at": "2026-01-31T09:30:00Z",
        "reclassify_suggested": True,
    },
)


@extend_schema(tags=["categories"])
@extend_schema_view(
    list=extend_schema(summary="List categories, oldest first"), retrieve=extend_schema(summary="Read a category")
)
class CategoryViewSet(KeyView, ListModelMixin, RetrieveModelMixin, GenericViewSet[Category]):
    """The categories that a project's threads are sorted into."""

    scopes: ClassVar = {
        "list": "read",
        "retrieve": "read",
        "create": "manage",
        "update": "manage",
        "partial_update": "manage",
        "destroy": "manage",
    }
    conflicting_actions: ClassVar = {"create", "update", "partial_update"}
    serializer_class = CategoryRow
    ordering = ("created_at", "id")
    queryset = Category.objects.none()

    def get_queryset(self) -> QuerySet[Category]:
        return selectors.categories_of(self.kwargs["project_id"])

    def get_object(self) -> Category:
        return selectors.find_category(self.kwargs["project_id"], self.kwargs["category_id"])

    @extend_schema(
        summary="Add a category",
        request=CategoryDraft,
        responses={201: ChangedCategory},
        examples=[A_DRAFT, A_CHANGED_CATEGORY],
    )
    def create(self, request: Request, project_id: UUID) -> Response:
        draft = CategoryDraft(data=request.data)
        draft.is_valid(raise_exception=True)
        category = services.create_category(project_id=project_id, **draft.validated_data)
        return Response(_changed(category), status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Correct a category as a whole",
        request=CategoryDraft,
        responses=ChangedCategory,
        examples=[A_DRAFT, A_CHANGED_CATEGORY],
    )
    def update(self, request: Request, project_id: UUID, category_id: UUID) -> Response:
        return self._change(request, partial=False)

    @extend_schema(
        summary="Correct a category",
        description="Its labels stay: nothing is re-labelled unasked.",
        request=CategoryDraft(partial=True),
        responses=ChangedCategory,
        examples=[A_CHANGE, A_CHANGED_CATEGORY],
    )
    def partial_update(self, request: Request, project_id: UUID, category_id: UUID) -> Response:
        return self._change(request, partial=True)

    @extend_schema(
        summary="Delete a category",
        description="At once, however many threads bear it: no response shows it from now on. In the background its "
        "threads are classified anew, by a run of the kind `category_deleted`, or moved to another category with "
        "`reassign_to`.",
        parameters=[CategoryDeletion],
        request=None,
        responses={204: None},
    )
    def destroy(self, request: Request, project_id: UUID, category_id: UUID) -> Response:
        self.get_object()
        deletion = CategoryDeletion(data=request.query_params)
        deletion.is_valid(raise_exception=True)
        services.delete_category(
            project_id=project_id,
            category_id=category_id,
            reassign_to=deletion.validated_data.get("reassign_to"),
            actor=Actor.of_key(key_of(request)),
        )
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _change(self, request: Request, *, partial: bool) -> Response:
        category = self.get_object()
        draft = CategoryDraft(data=request.data, partial=partial)
        draft.is_valid(raise_exception=True)
        category, is_changed = services.change_category(
            project_id=category.project_id, category_id=category.pk, changes=draft.validated_data
        )
        return Response(_changed(category, is_changed))


def _changed(category: Category, is_changed: bool = True) -> dict[str, Any]:
    return {**CategoryRow(category).data, "reclassify_suggested": is_changed}
