"""The shapes of documents over HTTP."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, BinaryIO, cast

import orjson
from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from knowledge import composition, services
from knowledge.errors import DocumentUnreadable
from knowledge.files import CONTENT_TYPES, find_title, read_file
from knowledge.models import TEXT_TYPES, Document, Reindexing
from knowledge.reindexing import count_documents
from knowledge.services import Draft
from teams.fields import QueryParameters

MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 8
TEXT_CHOICES = [(kind.value, kind.label) for kind in TEXT_TYPES]
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")


@extend_schema_field({"type": "object", "additionalProperties": {}})
class MetadataField(serializers.Field[dict[str, Any], Any, Any, Any]):
    """A JSON object of bounded size and depth; in a form, its text."""

    default_error_messages = {
        "not_an_object": "A JSON object is expected.",
        "too_large": f"At most {MAX_METADATA_BYTES} bytes as JSON, nested at most {MAX_METADATA_DEPTH} deep.",
        "no_name": "A name must not be empty.",
        "number_too_large": "A number must fit into 64 bits.",
        "nul": "NUL characters are not allowed.",
    }

    def __init__(self, *, is_text: bool = False, **options: Any) -> None:
        self._is_text = is_text
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if self._is_text:
            try:
                data = orjson.loads(data) if isinstance(data, str) else data
            except orjson.JSONDecodeError:
                self.fail("not_an_object")
        if not isinstance(data, dict):
            self.fail("not_an_object")
        self._check(data)
        if len(orjson.dumps(data)) > MAX_METADATA_BYTES:
            self.fail("too_large")
        return data

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    def _check(self, value: dict[str, Any]) -> None:
        pending: list[tuple[Any, int]] = [(value, 1)]
        while pending:
            item, depth = pending.pop()
            if depth > MAX_METADATA_DEPTH + 1:
                self.fail("too_large")
            if isinstance(item, dict):
                if "" in item:
                    self.fail("no_name")
                pending.extend((child, depth + 1) for pair in item.items() for child in pair)
            elif isinstance(item, list):
                pending.extend((child, depth + 1) for child in item)
            elif isinstance(item, str) and "\0" in item:
                self.fail("nul")
            elif isinstance(item, int | float) and not -(2**63) <= item < 2**63:  # PostgreSQL writes 1e30 out in digits
                self.fail("number_too_large")


class Text(serializers.CharField):
    """A JSON string: a number is not taken for one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class SourceUrlField(Text):
    """Where readers find the original: an http or https address, or a path. Nothing that a browser would run."""

    default_error_messages = {"scheme": "An http:// or https:// address, or a path, is expected."}

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=2000, allow_blank=True, **options)

    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        if any(unicodedata.category(character).startswith(("C", "Z")) for character in value):
            self.fail("scheme")  # browsers drop such characters, and run what is left
        scheme = _SCHEME.match(value)
        if scheme is not None and scheme[1].lower() not in ("http", "https"):
            self.fail("scheme")
        return value


class DocumentRow(serializers.ModelSerializer[Document]):
    """A document as it is listed: everything but its content."""

    external_id = serializers.CharField(allow_null=True, read_only=True)
    error = serializers.CharField(
        read_only=True, help_text="What went wrong, or what the document waits for; else empty."
    )
    metadata = MetadataField(read_only=True)

    class Meta:
        model = Document
        fields = [
            "id",
            "external_id",
            "title",
            "source_url",
            "content_type",
            "state",
            "error",
            "chunk_count",
            "content_sha256",
            "metadata",
            "created_at",
            "updated_at",
            "indexed_at",
        ]
        read_only_fields = fields


class DocumentBody(serializers.Serializer[Any]):
    """A whole document: what is left out is empty, also when it replaces another."""

    external_id = Text(
        required=False,
        allow_null=True,
        max_length=500,
        help_text="Your name for it: a document of the same name is replaced.",
    )
    title = Text(max_length=500)
    source_url = SourceUrlField(required=False)
    content = Text(trim_whitespace=False)
    content_type = serializers.ChoiceField(choices=TEXT_CHOICES)
    metadata = MetadataField(required=False)

    def draft(self) -> Draft:
        """The document that the validated body states."""
        return Draft(**self.validated_data)


class DocumentUpload(serializers.Serializer[Any]):
    """A file as a document."""

    file = serializers.FileField(help_text=f"What it is, its name's ending says: {', '.join(CONTENT_TYPES)}.")
    external_id = serializers.CharField(required=False, max_length=500)
    title = serializers.CharField(
        required=False, max_length=500, help_text="Left out: the first heading, or the file's name."
    )
    source_url = SourceUrlField(required=False)
    metadata = MetadataField(required=False, is_text=True, help_text="A JSON object, as text.")

    def draft(self) -> Draft:
        """The document that the validated form states.

        Raises FileKindUnsupported, DocumentTooLarge, and DocumentUnreadable, which names the file.
        """
        stated = dict(self.validated_data)
        upload: UploadedFile[bytes] = stated.pop("file")
        name = (upload.name or "document").replace("\0", "")

        @contextmanager
        def open_upload() -> Iterator[BinaryIO]:
            upload.seek(0)
            yield cast(BinaryIO, upload)

        try:
            content = read_file(
                open_upload,
                name=name,
                size_bytes=upload.size or 0,
                limits=services.size_limits(),
                declared_type=upload.content_type or "",
            )
            if content.binary is None:
                services.check_content(content.text)
        except DocumentUnreadable as exc:
            raise DocumentUnreadable(str(exc), attr="file") from exc
        stated.setdefault("title", find_title(content, name, composition.loader_for))
        return Draft(content=content.text, content_type=content.content_type, binary=content.binary, **stated)


class DocumentChanges(serializers.Serializer[Document]):
    """Some fields of a document; the others stay."""

    external_id = Text(required=False, allow_null=True, max_length=500, help_text="Cannot be changed; may be repeated.")
    title = Text(required=False, max_length=500)
    source_url = SourceUrlField(required=False)
    content = Text(required=False, trim_whitespace=False)
    content_type = serializers.ChoiceField(required=False, choices=TEXT_CHOICES)
    metadata = MetadataField(required=False)

    def validate_external_id(self, value: str | None) -> str | None:
        assert self.instance is not None
        if value != self.instance.external_id:
            raise serializers.ValidationError("cannot be changed", code="immutable")
        return value

    def changes(self) -> dict[str, Any]:
        return {name: value for name, value in self.validated_data.items() if name != "external_id"}


class DocumentFilters(QueryParameters):
    """What a list of documents may be narrowed to."""

    state = serializers.ChoiceField(required=False, choices=Document.State.choices)
    external_id = serializers.CharField(required=False, max_length=500)


class ReindexingRow(serializers.ModelSerializer[Reindexing]):
    """How far the indexing of all documents is: of `total` documents `done` are indexed again, `failed` cannot be."""

    total = serializers.IntegerField(min_value=0, read_only=True)
    done = serializers.IntegerField(min_value=0, read_only=True)
    failed = serializers.IntegerField(min_value=0, read_only=True)

    class Meta:
        model = Reindexing
        fields = ["id", "state", "error", "total", "done", "failed", "started_at", "finished_at"]
        read_only_fields = fields

    def to_representation(self, instance: Reindexing) -> dict[str, Any]:
        return {**super().to_representation(instance), **asdict(count_documents(instance))}
