"""Every write to documents that people ask for. What the workers write stands in knowledge.indexing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from knowledge import composition, reindexing, tasks
from knowledge.claims import when_claimable
from knowledge.decoding import check_text
from knowledge.errors import DocumentNotFound, DocumentUnreadable, ReindexingRunning
from knowledge.files import BinaryFile, Limits, check_size
from knowledge.models import ContentType, Document, FilePart, Reindexing
from teams.models import Project

# Losing the race for an external_id once is chance; each further loss needs that document deleted and made again.
UPSERT_ATTEMPTS = 5
ALREADY_RUNNING = "The project's documents are being indexed again already."


@dataclass(frozen=True, slots=True)
class Draft:
    """A document as its owner states it, whole: its text, or a file that a worker takes the text out of."""

    title: str
    content: str
    content_type: str
    external_id: str | None = None
    source_url: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    binary: BinaryFile | None = None


class Written(Enum):
    """What became of a draft."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


def put_document(*, project: Project, draft: Draft, announce: bool = True) -> tuple[Document, Written]:
    """Store a document: a new one, or in the place of the project's document of the same `external_id`.

    What is the same in every field is not written again, unless its indexing failed before. With `announce` a worker
    is told at once; without, the sweeper finds the document. Raises DocumentTooLarge, DocumentUnreadable.
    """
    if draft.binary is None:
        check_content(draft.content)
    for _ in range(UPSERT_ATTEMPTS - 1):
        try:
            return _put_once(project, draft, announce)
        except IntegrityError:  # another request made the same external_id meanwhile: replace that one
            continue
    return _put_once(project, draft, announce)


def update_document(*, project: Project, document_id: UUID, changes: dict[str, Any]) -> Document:
    """Change some of the fields of a Draft, except `external_id`.

    Raises DocumentNotFound, DocumentTooLarge, DocumentUnreadable.
    """
    if "content" in changes:
        check_content(changes["content"])
    with transaction.atomic():
        document = Document.objects.select_for_update().filter(pk=document_id, project=project, deleted_at=None).first()
        if document is None:
            raise DocumentNotFound("The project has no such document.")
        _check_kind(document, changes)
        hashed = {"content_sha256": _hash(changes["content"])} if "content" in changes else {}
        _write_changes(document, {**changes, **hashed}, announce=True)
    return document


def delete_document(*, project: Project, document_id: UUID) -> None:
    """Hide a document from every read and every answer, now and for good; a task erases what is left of it.

    Raises DocumentNotFound, also when it is deleted already.
    """
    with transaction.atomic():
        deleted = Document.objects.filter(pk=document_id, project=project, deleted_at=None).update(
            deleted_at=Now(), index_after=when_claimable()
        )
        if not deleted:
            raise DocumentNotFound("The project has no such document.")
        transaction.on_commit(partial(tasks.erase_document.nudge, str(document_id)), robust=True)


def index_again(documents: QuerySet[Document]) -> int:
    """Embed and store these documents' chunks anew, the old ones answering meanwhile. Returns how many."""
    # a reindexing that goes on is not to take what it holds of them for enough
    return _queue(
        documents, revision=F("revision") + 1, staged_chunks=0, rebuilt_revision=None, rebuilt_chunk_count=None
    )


def describe_again(documents: QuerySet[Document]) -> int:
    """Send these documents' titles and metadata to the vector database again. Returns how many."""
    return _queue(documents)


def _queue(documents: QuerySet[Document], **values: Any) -> int:
    with transaction.atomic():
        ids = list(documents.filter(deleted_at=None).select_for_update().values_list("pk", flat=True))
        Document.objects.filter(pk__in=ids).update(
            state=Document.State.PENDING,
            error="",
            index_attempts=0,
            index_after=when_claimable(),
            updated_at=Now(),
            **values,
        )
        for document_id in ids:
            transaction.on_commit(partial(tasks.index_document.nudge, str(document_id)), robust=True)
    return len(ids)


def start_reindexing(*, project: Project) -> Reindexing:
    """Have workers index all of the project's documents anew, with the embedder of now, while the old library answers.

    Raises ReindexingRunning when one runs already; one that fills its library with another embedder is superseded.
    """
    try:
        with transaction.atomic():
            running = Reindexing.objects.filter(project=project, state=Reindexing.State.RUNNING).first()
            if running is not None:
                if running.embedder_fingerprint in ("", composition.embedders_in_use().current.fingerprint):
                    raise ReindexingRunning(ALREADY_RUNNING)
                reindexing.end(running.pk, Reindexing.State.CANCELLED, reindexing.SUPERSEDED)
            started = Reindexing.objects.create(project=project)
            transaction.on_commit(partial(tasks.advance_reindexing.nudge, str(started.pk)), robust=True)
    except IntegrityError as exc:  # two at once
        raise ReindexingRunning(ALREADY_RUNNING) from exc
    started.refresh_from_db()
    return started


def cancel_reindexing(reindexing_id: UUID) -> bool:
    """End a reindexing; the live library goes on answering. False when it has ended already."""
    return reindexing.end(reindexing_id, Reindexing.State.CANCELLED, reindexing.CALLED_OFF)


def check_content(content: str) -> None:
    """Raise DocumentTooLarge or DocumentUnreadable for what cannot be a document's content."""
    limit = size_limits().text_bytes
    check_size(len(content), limit)  # no fewer bytes than characters: what is far too large is not encoded at all
    check_text(content)
    check_size(len(content.encode()), limit)
    if not content.strip():
        raise DocumentUnreadable("The document has no text.")


def size_limits() -> Limits:
    """How large a file may be."""
    return Limits(text_bytes=settings.MAX_DOCUMENT_SIZE_BYTES, pdf_bytes=settings.MAX_PDF_SIZE_BYTES)


def _check_kind(document: Document, changes: dict[str, Any]) -> None:
    """Raise DocumentUnreadable for a text that would be read as a PDF, and for a PDF that would be read as a text."""
    if document.content_type != ContentType.PDF or changes.keys().isdisjoint({"content", "content_type"}):
        return
    if "content_type" not in changes:
        raise DocumentUnreadable("The document is a PDF: say what this text is.", attr="content_type")
    if "content" not in changes:
        raise DocumentUnreadable("The document is a PDF: send the text, too.", attr="content")


def _put_once(project: Project, draft: Draft, announce: bool) -> tuple[Document, Written]:
    with transaction.atomic():
        existing = _lock_by_external_id(project, draft.external_id)
        fields = _changeable_fields(draft)
        if existing is not None:
            is_written = _write_changes(existing, fields, binary=draft.binary, announce=announce)
            return existing, Written.REPLACED if is_written else Written.UNCHANGED
        document = Document.objects.create(project=project, external_id=draft.external_id, **fields)
        _keep_file(document, draft.binary)
        if announce:
            transaction.on_commit(partial(tasks.index_document.nudge, str(document.pk)), robust=True)
    document.refresh_from_db(fields=["index_after"])
    return document, Written.CREATED


def _lock_by_external_id(project: Project, external_id: str | None) -> Document | None:
    if external_id is None:
        return None
    same = Document.objects.filter(project=project, external_id=external_id, deleted_at=None)
    return same.select_for_update().first()


def _changeable_fields(draft: Draft) -> dict[str, Any]:
    return {
        "title": draft.title,
        "source_url": draft.source_url,
        "content": draft.content,
        "content_type": draft.content_type,
        "content_sha256": draft.binary.sha256 if draft.binary else _hash(draft.content),
        "metadata": draft.metadata,
    }


def _write_changes(
    document: Document, fields: dict[str, Any], *, binary: BinaryFile | None = None, announce: bool
) -> bool:
    """Write what differs, in the caller's transaction, which holds the row; False when nothing does.

    Title, content and content type are a new revision, to be embedded; metadata is only sent to the vector database;
    the source's address stands in this row alone. Whether the content differs is told by its hash: of a file there may
    be no text yet.
    """
    content = {name: fields[name] for name in ("content",) if name in fields}
    stated = {name: value for name, value in fields.items() if name != "content"}
    changed = {name: value for name, value in stated.items() if not is_same(getattr(document, name), value)}
    failed_before = document.state == Document.State.FAILED
    if not changed and not failed_before:
        return False
    has_new_content = content and (failed_before or not changed.keys().isdisjoint({"content_sha256", "content_type"}))
    values: dict[str, Any] = {**changed, **(content if has_new_content else {}), "updated_at": timezone.now()}
    is_revised = not changed.keys().isdisjoint({"title", "content_sha256", "content_type"})
    if is_revised:
        values |= {"revision": F("revision") + 1, "staged_chunks": 0}
    if is_revised or "metadata" in changed or failed_before:
        values |= {"state": Document.State.PENDING, "error": "", "index_attempts": 0, "index_after": when_claimable()}
        if announce:
            transaction.on_commit(partial(tasks.index_document.nudge, str(document.pk)), robust=True)
    Document.objects.filter(pk=document.pk).update(**values)
    if has_new_content:
        document.file_parts.all().delete()
        _keep_file(document, binary)
    document.refresh_from_db()
    return True


def _keep_file(document: Document, binary: BinaryFile | None) -> None:
    """Store the file until a worker has read it, a piece at a time: the memory of a request is bounded."""
    for position, piece in enumerate(binary.read_pieces() if binary else ()):
        FilePart.objects.create(document=document, position=position, data=piece)


def is_same(left: Any, right: Any) -> bool:
    """Whether two values of a document's field are the same to JSON."""
    if isinstance(left, str):
        return bool(left == right)
    # Python holds 1, 1.0 and True to be equal; JSON does not
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
