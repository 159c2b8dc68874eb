"""The HTTP calls of conversations: chat, retrieval, threads. They translate; services decide."""

from __future__ import annotations

from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from knowledge.connections import release_connection
from query import selectors, services
from query.event_shapes import STREAMED_EVENT
from query.event_stream import CONTENT_TYPE, client_of, write_events
from query.lists import ThreadList
from query.models import Thread
from query.serializers import (
    ChatAnswer,
    ChatQuestion,
    FollowUpQuestion,
    RetrievalQuestion,
    RetrievalResults,
    ThreadDetail,
    ThreadFilters,
    ThreadRow,
)
from query.services import Asker
from teams.models import Project
from teams.permissions import key_of
from teams.views import KeyView

A_QUESTION = OpenApiExample(
    "A question",
    request_only=True,
    value={
        "question": "How do I run the tests?",
        "user": {"email": "ada@example.com", "unique_client_id": "42"},
        "metadata": {"origin_url": "https://example.com/help"},
    },
)
AN_ANSWER = OpenApiExample(
    "An answer",
    response_only=True,
    value={
        "question": "How do I run the tests?",
        "answer": 'From "Development" [1]:\n\n> Run `make test`.',
        "question_answer_id": "8d4ec1a2-51f5-4b0e-9a6c-0d5f3f4f8a11",
        "thread_id": "f3b2c1d0-1111-4a5b-8c9d-aaaaaaaaaaaa",
        "is_uncertain": False,
        "relevant_sources": [
            {"title": "Development", "source_url": "https://example.com/dev", "snippet": "Run `make test`…"}
        ],
        "timings": {"embed_ms": 6.1, "retrieve_ms": 3.4, "generate_ms": 0.8, "total_ms": 10.9},
    },
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was understood, and where it belongs."""

    project: Project
    question: str
    thread: Thread | None = None
    asker: Asker | None = None


class JSONUntilItStreams(DefaultContentNegotiation):
    """A client that accepts event streams alone is answered, too; its errors are JSON."""

    heeds_accept = False

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


STREAM = (
    "Server-sent events: `sources` (`{relevant_sources}`), then `delta` (`{text}`) as often as there is text, then "
    "exactly one of `done` (the body of the call without `/stream`) and `error` (the body of an error, with its "
    "`status` and `retry_after_s`). A comment, `: ping`, comes at least every 15 seconds. Where `done` has another "
    "answer than the deltas together, the model took back what it had begun, and `done` counts. Whoever hangs up "
    "before the end ends the answer, too: nothing of it is kept."
)


class ProjectQuestions(KeyView):
    """Questions to a project's bot; with `thread_id`, follow-ups in that thread."""

    scopes: ClassVar = {"post": "chat"}

    def read(self, request: Request, project_id: UUID) -> Asked:
        asked = ChatQuestion(data=request.data)
        asked.is_valid(raise_exception=True)
        thread_id = asked.validated_data.get("thread_id")
        thread = selectors.find_thread(thread_id, project_id) if thread_id else None
        return Asked(key_of(request).project, asked.validated_data["question"], thread, asked.asker())


class ThreadQuestions(KeyView):
    """Follow-ups: what came before in the thread is taken into account."""

    scopes: ClassVar = {"post": "chat"}

    def read(self, request: Request, thread_id: UUID) -> Asked:
        key = key_of(request)
        thread = selectors.find_thread(thread_id, key.project_id)
        asked = FollowUpQuestion(data=request.data)
        asked.is_valid(raise_exception=True)
        return Asked(key.project, asked.validated_data["question"], thread)


class ProjectChat(ProjectQuestions):
    @extend_schema(
        operation_id="chat",
        summary="Ask a question",
        request=ChatQuestion,
        responses=ChatAnswer,
        examples=[A_QUESTION, AN_ANSWER],
        tags=["chat"],
    )
    def post(self, request: Request, project_id: UUID) -> Response:
        return _answer(self.read(request, project_id))


class ThreadChat(ThreadQuestions):
    @extend_schema(
        operation_id="follow_up",
        summary="Ask a follow-up",
        request=FollowUpQuestion,
        responses=ChatAnswer,
        tags=["chat"],
    )
    def post(self, request: Request, thread_id: UUID) -> Response:
        return _answer(self.read(request, thread_id))


class ProjectChatStream(ProjectQuestions):
    content_negotiation_class = JSONUntilItStreams

    @extend_schema(
        operation_id="chat_stream",
        summary="Ask a question, and read the answer while it is written",
        description=STREAM,
        request=ChatQuestion,
        responses={(200, CONTENT_TYPE): STREAMED_EVENT},
        examples=[A_QUESTION],
        tags=["chat"],
    )
    def post(self, request: Request, project_id: UUID) -> StreamingHttpResponse:
        return _stream(self, request, self.read(request, project_id))


class ThreadChatStream(ThreadQuestions):
    content_negotiation_class = JSONUntilItStreams

    @extend_schema(
        operation_id="follow_up_stream",
        summary="Ask a follow-up, and read the answer while it is written",
        description=STREAM,
        request=FollowUpQuestion,
        responses={(200, CONTENT_TYPE): STREAMED_EVENT},
        tags=["chat"],
    )
    def post(self, request: Request, thread_id: UUID) -> StreamingHttpResponse:
        return _stream(self, request, self.read(request, thread_id))


def _answer(asked: Asked) -> Response:
    exchange = services.ask(project=asked.project, question=asked.question, thread=asked.thread, asker=asked.asker)
    return Response(ChatAnswer(exchange).data)


def _stream(view: KeyView, request: Request, asked: Asked) -> StreamingHttpResponse:
    make = partial(
        services.ask_in_parts,
        project=asked.project,
        question=asked.question,
        thread=asked.thread,
        asker=asked.asker,
    )
    handle, context = view.get_exception_handler(), view.get_exception_handler_context()
    events = write_events(
        make,
        describe=lambda error: handle(error, context),
        is_gone=client_of(request.META),
        context=copy_context(),
    )
    release_connection()  # nothing more is read here, and the answer may take its time
    # proxies that gather an answer before they pass it on are asked not to
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(events, content_type=CONTENT_TYPE, headers=headers)


class ProjectRetrieval(KeyView):
    """The passages that the project's documents hold on a question, best first, without an answer."""

    scopes: ClassVar = {"post": "read"}

    @extend_schema(
        operation_id="retrieval",
        summary="Search without an answer",
        request=RetrievalQuestion,
        responses=RetrievalResults,
        tags=["chat"],
    )
    def post(self, request: Request, project_id: UUID) -> Response:
        asked = RetrievalQuestion(data=request.data)
        asked.is_valid(raise_exception=True)
        passages = services.retrieve(project_id=project_id, **asked.validated_data)
        return Response(RetrievalResults({"results": passages}).data)


@extend_schema(tags=["threads"])
class ThreadViewSet(KeyView, ListModelMixin, RetrieveModelMixin, GenericViewSet[Thread]):
    """A project's conversations."""

    scopes: ClassVar[dict[str, str]] = {"list": "read", "retrieve": "read"}
    lookup_url_kwarg = "thread_id"
    ordering = ("-created_at", "-id")
    queryset = Thread.objects.none()
    filter_serializer_class: type[ThreadFilters] = ThreadFilters

    def get_queryset(self) -> QuerySet[Thread]:
        threads = selectors.threads_of(self.kwargs["project_id"])
        return threads if self.action == "list" else selectors.with_question_answers(threads)

    def get_serializer_class(self) -> type[BaseSerializer[Thread]]:
        return ThreadRow if self.action == "list" else ThreadDetail

    def get_object(self) -> Thread:
        return get_object_or_404(self.get_queryset(), pk=self.kwargs["thread_id"])

    def filter_queryset(self, queryset: Any) -> Any:
        filters = self.filter_serializer_class(data=self.request.query_params)
        filters.is_valid(raise_exception=True)
        return self.apply_filters(queryset, filters.validated_data)

    def apply_filters(self, queryset: QuerySet[Thread], filters: dict[str, Any]) -> ThreadList:
        """The threads that meet every filter given."""
        lookups = {"created_after": "created_at__gte", "created_before": "created_at__lt"}
        return ThreadList(
            queryset.filter(**{lookups[name]: filters[name] for name in lookups if name in filters}),
            is_uncertain=filters.get("is_uncertain"),
            updated_since=filters.get("updated_since"),
            words=filters.get("search"),
        )
