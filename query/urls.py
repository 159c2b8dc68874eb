"""The paths of chat and retrieval. The threads' paths are mounted with the label calls by categorisation."""

from __future__ import annotations

from django.urls import path

from query.api import ProjectChat, ProjectChatStream, ProjectRetrieval, ThreadChat, ThreadChatStream

urlpatterns = [
    path("projects/<id:project_id>/chat", ProjectChat.as_view()),
    path("projects/<id:project_id>/chat/stream", ProjectChatStream.as_view()),
    path("projects/<id:project_id>/retrieval", ProjectRetrieval.as_view()),
    path("threads/<id:thread_id>/chat", ThreadChat.as_view()),
    path("threads/<id:thread_id>/chat/stream", ThreadChatStream.as_view()),
]
