"""What a bot knows: the documents of a project, and the library that holds their chunks."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from teams.models import Project


class ContentType(models.TextChoices):
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    PLAIN = "text/plain"
    RST = "text/x-rst"
    PDF = "application/pdf"


# what a text may be; the other kinds come as files
TEXT_TYPES = (ContentType.MARKDOWN, ContentType.HTML, ContentType.PLAIN, ContentType.RST)


class Library(models.Model):
    """Which of vectordb's libraries a project is answered from, and whose vectors they are.

    Vectors of two embedders do not compare: a library is read and written only with the embedder it was made with. A
    reindexing that has filled another library moves this row to it.
    """

    project = models.OneToOneField(Project, primary_key=True, on_delete=models.CASCADE, related_name="library")
    vectordb_id = models.CharField(max_length=128, unique=True)
    embedder_fingerprint = models.CharField(max_length=200)
    dimension = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "libraries"

    def __str__(self) -> str:
        return self.vectordb_id


class Reindexing(models.Model):
    """A project's documents, all embedded and stored anew in a library beside the live one, which it then replaces.

    The library is named by the first worker that takes this up, with whose embedder it is filled. `advance_after` is
    the end of that worker's lease, or of a pause.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="reindexings")
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    error = models.TextField(blank=True, default="", help_text="Why it failed, or what it waits for.")

    vectordb_id = models.CharField(max_length=128, blank=True, default="")
    embedder_fingerprint = models.CharField(max_length=200, blank=True, default="")
    dimension = models.PositiveIntegerField(null=True, blank=True)

    # how far it was when it ended, in documents; before, their rows say it
    total = models.PositiveIntegerField(null=True, blank=True)
    done = models.PositiveIntegerField(null=True, blank=True)
    failed = models.PositiveIntegerField(null=True, blank=True)

    advance_after = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(state="running"), name="reindexing_open_once_of_a_project"
            ),
        ]
        indexes = [models.Index(F("project"), F("started_at").desc(), name="reindexing_newest_first")]

    def __str__(self) -> str:
        return f"reindexing of {self.started_at:%Y-%m-%d %H:%M}"


class DiscardedLibrary(models.Model):
    """One of vectordb's libraries that no project uses any more, until vectordb has deleted it.

    `delete_after` leaves those who found it in use the time to end.
    """

    vectordb_id = models.CharField(max_length=128, primary_key=True)
    delete_after = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "discarded libraries"

    def __str__(self) -> str:
        return self.vectordb_id


class Document(models.Model):
    """A text that a bot knows.

    PostgreSQL is the record, vectordb a projection of it. `revision` moves with everything that changes the chunks;
    `live_revision` is the revision whose chunks are complete and which answers are drawn from, so a replacement is
    seen whole or not at all. `content` is text: a PDF has none until a worker has read its file (`file_parts`), whose
    hash `content_sha256` is. `index_after` says from when a task may claim the row: now, when a claim's lease ends, or
    when the pause before a retry is over. A deleted document is hidden at once (`deleted_at`) and its row goes when
    vectordb has let go of its chunks.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        INDEXED = "indexed"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="documents")
    external_id = models.CharField(max_length=500, null=True, blank=True)  # noqa: DJ001 - null: not given, no upsert
    title = models.CharField(max_length=500)
    source_url = models.CharField(max_length=2000, blank=True, default="")
    content = models.TextField()
    content_type = models.CharField(max_length=32, choices=ContentType.choices)
    content_sha256 = models.CharField(max_length=64)
    metadata: models.JSONField[dict[str, Any]] = models.JSONField(default=dict, blank=True)

    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    error = models.TextField(blank=True, default="")
    chunk_count = models.PositiveIntegerField(default=0)
    indexed_at = models.DateTimeField(null=True, blank=True)

    revision = models.PositiveIntegerField(default=1)
    live_revision = models.PositiveIntegerField(null=True, blank=True)
    staged_chunks = models.PositiveIntegerField(default=0)
    index_after = models.DateTimeField(db_default=Now())
    index_attempts = models.PositiveSmallIntegerField(default=0)

    # the last reindexing that has to do with it; the revision that its library holds whole, of so many chunks
    reindexing_id = models.UUIDField(null=True, blank=True, editable=False)
    rebuilt_revision = models.PositiveIntegerField(null=True, blank=True, editable=False)
    rebuilt_chunk_count = models.PositiveIntegerField(null=True, blank=True, editable=False)

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "external_id"], condition=Q(deleted_at=None), name="document_external_id_in_project"
            ),
        ]
        indexes = [
            models.Index(fields=["project", "-created_at", "-id"], name="document_newest_first"),
            models.Index(
                fields=["index_after"],
                condition=Q(state="pending") | Q(deleted_at__isnull=False),
                name="document_awaiting_work",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_additional_data(self) -> dict[str, str]:
        """What the audit trail notes beside a change."""
        return {"project": str(self.project_id)}


class FilePart(models.Model):
    """A stretch of a file whose text has yet to be taken out of it; in parts, so that nobody need hold all of it."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="file_parts", db_index=False)
    position = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["document", "position"], name="file_part_in_order")]

    def __str__(self) -> str:
        return f"{self.document_id} {self.position}"
