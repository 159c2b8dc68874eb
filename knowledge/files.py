"""Files as documents: what kind they are, what they hold, and what they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

from knowledge.decoding import decode
from knowledge.errors import DocumentTooLarge, DocumentUnreadable, FileKindUnsupported
from knowledge.loaders import Loader
from knowledge.loaders.pdf import MAGIC, MAGIC_SEARCH_BYTES, looks_like_pdf
from knowledge.models import ContentType

CONTENT_TYPES = {
    ".md": ContentType.MARKDOWN,
    ".html": ContentType.HTML,
    ".htm": ContentType.HTML,
    ".txt": ContentType.PLAIN,
    ".rst": ContentType.RST,
    ".pdf": ContentType.PDF,
}
MAX_TITLE_CHARACTERS = 500
PIECE_BYTES = 256 * 1024
# A first heading stands near the beginning; a large document is not parsed twice for its sake.
_TITLE_SEARCH_CHARACTERS = 20_000
# What clients say of files that they know nothing about, and what they mean who say nothing (RFC 7578, section 4.4).
_SAYS_NOTHING = ("", "application/octet-stream", "binary/octet-stream", "text/plain")
_PDF_TYPES = ("application/pdf", "application/x-pdf")
_TEXT_TYPES = ("text/", "application/xhtml+xml", "application/xml", "application/markdown")


# Opens a file at its beginning, as often as it is asked to.
OpenFile = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be: one that is text, and a PDF."""

    text_bytes: int
    pdf_bytes: int


@dataclass(frozen=True, slots=True)
class BinaryFile:
    """A file whose text a worker takes out of it. `read_pieces` reads it from its beginning, each time."""

    sha256: str
    read_pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file is, and its text; or, where it is none, the file."""

    content_type: ContentType
    text: str = ""
    binary: BinaryFile | None = None


def content_type_of(file_name: str) -> ContentType | None:
    """The content type that the name's ending states; None when it is none that can be read."""
    return CONTENT_TYPES.get(PurePath(file_name).suffix.lower())


def read_file(
    open_file: OpenFile, *, name: str, size_bytes: int, limits: Limits, declared_type: str = ""
) -> FileContent:
    """What the file holds, if that is what its name and whoever sent it say. Nothing of a file too large is read.

    Raises FileKindUnsupported, DocumentTooLarge, and DocumentUnreadable for bytes that are no text.
    """
    content_type = content_type_of(name)
    if content_type is None:
        raise FileKindUnsupported(f"A file of one of these kinds is expected: {', '.join(CONTENT_TYPES)}.")
    _check_declared_type(content_type, declared_type)
    is_pdf = content_type is ContentType.PDF
    check_size(size_bytes, limits.pdf_bytes if is_pdf else limits.text_bytes)
    with open_file() as file:
        beginning = file.read(MAGIC_SEARCH_BYTES)
        if not looks_like_pdf(beginning) if is_pdf else beginning.startswith(MAGIC):
            raise FileKindUnsupported(
                f"The file's name ends in {PurePath(name).suffix}, but what it holds is not that."
            )
        if not is_pdf:
            return FileContent(content_type, text=decode(beginning + file.read(), content_type))
    return FileContent(content_type, binary=_hash(open_file))


def check_size(size_bytes: int, limit_bytes: int) -> None:
    """Raise DocumentTooLarge beyond the limit."""
    if size_bytes > limit_bytes:
        raise DocumentTooLarge(f"The document is larger than {limit_bytes} bytes.")


def find_title(content: FileContent, file_name: str, loader_for: Callable[[str], Loader]) -> str:
    """The text's first heading, or else the file's name without its ending."""
    fallback = " ".join("".join(filter(str.isprintable, PurePath(file_name).stem)).split()).strip(".") or "Untitled"
    try:
        blocks = loader_for(content.content_type).load(content.text[:_TITLE_SEARCH_CHARACTERS]) if content.text else []
    except DocumentUnreadable:
        blocks = []
    heading = next((" ".join(block.text.split()) for block in blocks if block.kind == "heading"), "")
    return (heading or fallback)[:MAX_TITLE_CHARACTERS]


def _check_declared_type(content_type: ContentType, declared_type: str) -> None:
    declared = declared_type.partition(";")[0].strip().lower()
    allowed = _PDF_TYPES if content_type is ContentType.PDF else _TEXT_TYPES
    if declared not in _SAYS_NOTHING and not declared.startswith(allowed):
        raise FileKindUnsupported(f"The file's name says {content_type.value}, but it was sent as another kind.")


def _hash(open_file: OpenFile) -> BinaryFile:
    def read_pieces() -> Iterator[bytes]:
        with open_file() as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    digest = hashlib.sha256()
    for piece in read_pieces():
        digest.update(piece)
    return BinaryFile(digest.hexdigest(), read_pieces)
