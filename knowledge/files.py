"""Files as documents: what type they are, and what they are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from knowledge.errors import DocumentUnreadable
from knowledge.loaders import Loader
from knowledge.models import ContentType

CONTENT_TYPES = {
    ".md": ContentType.MARKDOWN,
    ".html": ContentType.HTML,
    ".htm": ContentType.HTML,
    ".txt": ContentType.PLAIN,
    ".rst": ContentType.RST,
}
MAX_TITLE_CHARACTERS = 500
# A first heading stands near the beginning; a large document is not parsed twice for its sake.
_TITLE_SEARCH_CHARACTERS = 20_000


def content_type_of(file_name: str) -> str | None:
    """The content type that the name's ending states; None when it is none that can be read."""
    return CONTENT_TYPES.get(PurePath(file_name).suffix.lower())


def find_title(content: str, content_type: str, file_name: str, loader_for: Callable[[str], Loader]) -> str:
    """The document's first heading, or else the file's name without its ending."""
    fallback = PurePath(file_name).stem.strip(" .") or "Untitled"
    try:
        blocks = loader_for(content_type).load(content[:_TITLE_SEARCH_CHARACTERS])
    except DocumentUnreadable:
        blocks = []
    heading = next((" ".join(block.text.split()) for block in blocks if block.kind == "heading"), "")
    return (heading or fallback)[:MAX_TITLE_CHARACTERS]
