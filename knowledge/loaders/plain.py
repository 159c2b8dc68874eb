"""Plain text: paragraphs, as blank lines part them."""

from __future__ import annotations

import re

from knowledge.loaders.protocol import Block, keep_readable

_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")


class PlainTextLoader:
    """Reads text/plain. There are no headings in it: a line that looks like one may be anything."""

    def load(self, content: str) -> list[Block]:
        text = content.replace("\r\n", "\n").replace("\r", "\n")
        return keep_readable(Block("text", paragraph.strip("\n").rstrip()) for paragraph in _BLANK_LINES.split(text))
