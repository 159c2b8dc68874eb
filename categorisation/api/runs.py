"""The HTTP calls of runs: begun, looked at, paused, resumed, cancelled. They translate; services decide."""

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
from categorisation.models import Run
from categorisation.serializers import PreviewStart, ReclassifyStart, RunRow, RunStart
from categorisation.services import Actor
from teams.permissions import key_of
from teams.views import KeyView

A_BACKFILL = OpenApiExample("A backfill", request_only=True, value={"kind": "backfill"})
A_RUN = OpenApiExample(
    "A run",
    response_only=True,
    value={
        "id": "6a1d9c36-4d5e-4f60-9f3b-5f2f6d6f8b11",
        "kind": "backfill",
        "state": "running",
        "total": 1_000_000,
        "done": 250_000,
        "failed": 3,
        "started_at": "2026-01-31T09:30:00Z",
        "finished_at": None,
        "eta_seconds": 15_300.0,
        "result": {"reused": 41_200},
    },
)
STALE_LABELS = OpenApiExample("Labels of an older taxonomy", request_only=True, value={"scope": "stale"})
ONE_CATEGORY = OpenApiExample(
    "One category's labels",
    request_only=True,
    value={"scope": "category", "category": "2f0c8a44-6b1e-4f7f-9a55-1f2b3c4d5e6f"},
)
A_DRAFT = OpenApiExample(
    "Two categories",
    request_only=True,
    value={
        "categories": [
            {"title": "Coding", "description": "How to do something with the API.", "examples": ["How do I page?"]},
            {"title": "Troubleshooting", "description": "Something does not work."},
        ],
        "sample_size": 200,
    },
)
A_PREVIEW = OpenApiExample(
    "A preview that is done",
    response_only=True,
    value={
        "id": "0b6f6f0a-26a1-4e43-8a5c-6a51a2f0a7de",
        "kind": "preview",
        "state": "done",
        "total": 200,
        "done": 199,
        "failed": 1,
        "started_at": "2026-01-31T09:30:00Z",
        "finished_at": "2026-01-31T09:30:09Z",
        "eta_seconds": None,
        "result": {
            "sample": 200,
            "failed": 1,
            "counts": [{"title": "Coding", "threads": 120}, {"title": "Troubleshooting", "threads": 79}],
            "table": [
                {"current": {"id": "2f0c8a44-6b1e-4f7f-9a55-1f2b3c4d5e6f", "title": "Discovery"}, "draft": [110, 9]},
                {"current": None, "draft": [10, 70]},
            ],
            "estimated_classifications": 958_800,
            "estimated_seconds": 19_176.0,
        },
    },
)


@extend_schema(tags=["runs"])
@extend_schema_view(
    list=extend_schema(summary="List runs, newest first"),
    retrieve=extend_schema(summary="Read a run and its progress", examples=[A_RUN, A_PREVIEW]),
)
class RunViewSet(KeyView, ListModelMixin, RetrieveModelMixin, GenericViewSet[Run]):
    """Labelling in the background."""

    scopes: ClassVar = {
        "list": "read",
        "retrieve": "read",
        "create": "manage",
        "pause": "manage",
        "resume": "manage",
        "cancel": "manage",
        "preview": "manage",
        "reclassify": "manage",
    }
    conflicting_actions: ClassVar = {"create", "pause", "resume", "cancel", "preview", "reclassify"}
    large_bodies: ClassVar = {"preview": "draft"}
    serializer_class = RunRow
    ordering = ("-started_at", "-id")
    queryset = Run.objects.none()

    def get_queryset(self) -> QuerySet[Run]:
        return selectors.runs_of(self.kwargs["project_id"])

    def get_object(self) -> Run:
        return selectors.find_run(self.kwargs["project_id"], self.kwargs["run_id"])

    @extend_schema(
        summary="Start a backfill",
        description="Labels the unlabelled threads that are older than a day. Those that were given up are tried "
        "again. Beat starts one by itself when there is anything to do, unless the last one was cancelled.",
        request=RunStart,
        responses={202: RunRow},
        examples=[A_BACKFILL, A_RUN],
    )
    def create(self, request: Request, project_id: UUID) -> Response:
        start = RunStart(data=request.data)
        start.is_valid(raise_exception=True)
        return _accepted(services.start_backfill(project_id=project_id, actor=_actor(request)))

    @extend_schema(
        summary="Pause a run",
        description="It claims nothing more; what is being classified is still labelled.",
        request=None,
        examples=[A_RUN],
    )
    def pause(self, request: Request, project_id: UUID, run_id: UUID) -> Response:
        run = services.pause_run(project_id=project_id, run_id=run_id, actor=_actor(request))
        return Response(RunRow(run).data)

    @extend_schema(summary="Resume a paused run", request=None, examples=[A_RUN])
    def resume(self, request: Request, project_id: UUID, run_id: UUID) -> Response:
        run = services.resume_run(project_id=project_id, run_id=run_id, actor=_actor(request))
        return Response(RunRow(run).data)

    @extend_schema(
        summary="Cancel a run",
        description="What it labelled stays labelled. After a backfill none is started in the project until someone "
        "starts one. A run that follows the deletion of a category cannot be cancelled.",
        request=None,
        examples=[A_RUN],
    )
    def cancel(self, request: Request, project_id: UUID, run_id: UUID) -> Response:
        run = services.cancel_run(project_id=project_id, run_id=run_id, actor=_actor(request))
        return Response(RunRow(run).data)

    @extend_schema(
        summary="Try a draft of the categories",
        description="Classifies a sample of past threads, chosen at random, against the draft. No label is changed. "
        "The run's `result` tells what came out when it is done.",
        request=PreviewStart,
        responses={202: RunRow},
        examples=[A_DRAFT, A_PREVIEW],
        tags=["categories"],
    )
    def preview(self, request: Request, project_id: UUID) -> Response:
        start = PreviewStart(data=request.data)
        start.is_valid(raise_exception=True)
        draft, sample_size = start.validated_data["categories"], start.validated_data["sample_size"]
        run = services.start_preview(project_id=project_id, actor=_actor(request), draft=draft, sample_size=sample_size)
        return _accepted(run)

    @extend_schema(
        summary="Classify anew",
        description="Runs the classifier again over labels that it gave. The old label stays until the new one is "
        "written; a person's label is never touched.",
        request=ReclassifyStart,
        responses={202: RunRow},
        examples=[STALE_LABELS, ONE_CATEGORY, A_RUN],
        tags=["categories"],
    )
    def reclassify(self, request: Request, project_id: UUID) -> Response:
        start = ReclassifyStart(data=request.data)
        start.is_valid(raise_exception=True)
        run = services.start_reclassify(
            project_id=project_id,
            actor=_actor(request),
            scope=start.validated_data["scope"],
            category_id=start.validated_data.get("category"),
        )
        return _accepted(run)


def _actor(request: Request) -> Actor:
    return Actor.of_key(key_of(request))


def _accepted(run: Run) -> Response:
    data: dict[str, Any] = RunRow(run).data
    return Response(data, status=status.HTTP_202_ACCEPTED)
