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

from knowledge import tasks
from knowledge.claims import when_claimable
from knowledge.decoding import check_text
from knowledge.errors import DocumentNotFound, DocumentTooLarge, DocumentUnreadable
from knowledge.models import Document
from teams.models import Project

# Losing the race for an external_id once is chance; each further loss needs that document deleted and made again.
UPSERT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Draft:
    """A document as its owner states it, whole."""

    title: str
    content: str
    content_type: str
    external_id: str | None = None
    source_url: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


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
        _write_changes(document, changes, announce=True)
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
    with transaction.atomic():
        ids = list(documents.filter(deleted_at=None).select_for_update().values_list("pk", flat=True))
        Document.objects.filter(pk__in=ids).update(
            state=Document.State.PENDING,
            error="",
            revision=F("revision") + 1,
            staged_chunks=0,
            index_attempts=0,
            index_after=when_claimable(),
            updated_at=Now(),
        )
        for document_id in ids:
            transaction.on_commit(partial(tasks.index_document.nudge, str(document_id)), robust=True)
    return len(ids)


def check_content(content: str) -> None:
    """Raise DocumentTooLarge or DocumentUnreadable for what cannot be a document's content."""
    check_size(len(content))  # no fewer bytes than characters: what is far too large is not encoded at all
    check_text(content)
    check_size(len(content.encode()))
    if not content.strip():
        raise DocumentUnreadable("The document has no text.")


def check_size(size_bytes: int) -> None:
    """Raise DocumentTooLarge beyond `MAX_DOCUMENT_SIZE_BYTES`."""
    if size_bytes > settings.MAX_DOCUMENT_SIZE_BYTES:
        raise DocumentTooLarge(f"The document is larger than {settings.MAX_DOCUMENT_SIZE_BYTES} bytes.")


def _put_once(project: Project, draft: Draft, announce: bool) -> tuple[Document, Written]:
    with transaction.atomic():
        existing = _lock_by_external_id(project, draft.external_id)
        if existing is not None:
            is_written = _write_changes(existing, _changeable_fields(draft), announce=announce)
            return existing, Written.REPLACED if is_written else Written.UNCHANGED
        document = Document.objects.create(
            project=project,
            external_id=draft.external_id,
            content_sha256=_hash(draft.content),
            **_changeable_fields(draft),
        )
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
        "metadata": draft.metadata,
    }


def _write_changes(document: Document, fields: dict[str, Any], *, announce: bool) -> bool:
    """Write what differs, in the caller's transaction, which holds the row; False when nothing does.

    Title, content and content type are a new revision, to be embedded; metadata is only sent to the vector database;
    the source's address stands in this row alone.
    """
    changed = {name: value for name, value in fields.items() if not _is_same(getattr(document, name), value)}
    failed_before = document.state == Document.State.FAILED
    if not changed and not failed_before:
        return False
    values: dict[str, Any] = {**changed, "updated_at": timezone.now()}
    if "content" in changed:
        values["content_sha256"] = _hash(changed["content"])
    is_revised = not changed.keys().isdisjoint({"title", "content", "content_type"})
    if is_revised:
        values |= {"revision": F("revision") + 1, "staged_chunks": 0}
    if is_revised or "metadata" in changed or failed_before:
        values |= {"state": Document.State.PENDING, "error": "", "index_attempts": 0, "index_after": when_claimable()}
        if announce:
            transaction.on_commit(partial(tasks.index_document.nudge, str(document.pk)), robust=True)
    Document.objects.filter(pk=document.pk).update(**values)
    document.refresh_from_db()
    return True


def _is_same(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return bool(left == right)
    # Python holds 1, 1.0 and True to be equal; JSON does not
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
