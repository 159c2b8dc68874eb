"""What every loader answers with, and the protocol that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from knowledge.errors import DocumentUnreadable

MAX_HEADING_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a document: a heading, a paragraph (or a whole list or table), or a block of code.

    `level` is 1..6 for headings and 0 otherwise; `language` may name the code's language. A text block is Markdown
    without headings and without fences; a code block is the bare code.
    """

    kind: Literal["heading", "text", "code"]
    text: str
    level: int = 0
    language: str = ""


class Loader(Protocol):
    """Reads one content type."""

    def load(self, content: str) -> list[Block]:
        """Return the document's blocks in reading order, none of them blank.

        Time and memory grow linearly with `content`. Raises DocumentUnreadable when nothing of it can be read as text.
        """
        ...


def keep_readable(blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks that have any text; raise DocumentUnreadable when none has."""
    readable = [block for block in blocks if block.text.strip()]
    if not readable:
        raise DocumentUnreadable("The document has no text.")
    return readable
