"""HTML to blocks, by a stream of tags.

The standard library's parser is used without a tree on top: a tree costs about a kilobyte for every tag, and walking it
recurses, so that a hostile 20 MB page would cost gigabytes or the stack. Here memory is what the text takes.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from knowledge.loaders.protocol import Block, keep_readable

_DROPPED = frozenset(
    (
        "script",
        "style",
        "nav",
        "template",
        "noscript",
        "svg",
        "title",
        "iframe",
        "object",
        "select",
        "button",
        "textarea",
    )
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_PARAGRAPHS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "head",
        "header",
        "hgroup",
        "hr",
        "html",
        "main",
        "p",
        "section",
        "summary",
    ]
)
_LISTS = frozenset(("ul", "ol", "menu", "dir"))
_MAX_INDENT = 8
_SPACES = re.compile(r"[ \t\n\r\f\v]+")
_CONSTRUCT_START = re.compile(r"<[a-zA-Z/!?]")
_LANGUAGE_CLASS = re.compile(r"(?:^|\s)(?:language|lang|highlight-source|highlight)-([A-Za-z0-9+#_-]{1,20})")


class HtmlLoader:
    """Reads text/html: headings, paragraphs, lists, tables (a line a row) and `pre` blocks.

    Drops what is no content: scripts, styles, navigation, templates, form controls.
    """

    def load(self, content: str) -> list[Block]:
        return keep_readable(read_html(content))


def read_html(content: str) -> list[Block]:
    """Return the blocks of a page or a fragment; none when it has no text."""
    reader = _BlockReader()
    reader.feed(_close_last_construct(content))
    reader.close()
    reader.flush()
    return reader.blocks


def _close_last_construct(content: str) -> str:
    """End a comment or a tag that the content leaves open.

    The parser looks for the end of every construct anew, so that 20 MB of `<!--` without an end would take hours.
    """
    last_open = content.rfind("<")
    is_tag_open = last_open > content.rfind(">") and _CONSTRUCT_START.match(content, last_open) is not None
    is_comment_open = content.rfind("<!--") > content.rfind("-->")
    return content + "-->" if is_tag_open or is_comment_open else content


class _BlockReader(HTMLParser):
    """Gathers text until a tag ends the block. Depth is counted, never followed by recursion."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self._parts: list[str] = []
        self._heading_level = 0
        self._dropped_tag = ""
        self._dropped_depth = 0
        self._pre_depth = 0
        self._pre_language = ""
        self._list_counters: list[int] = []  # one for each open list: the next number, or 0 for bullets
        self._table_depth = 0
        self._is_first_cell = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropped_tag:
            self._dropped_depth += tag == self._dropped_tag
            return
        if tag in _DROPPED:
            self._dropped_tag, self._dropped_depth = tag, 1
            return
        if tag in ("pre", "code"):
            self._start_code(tag, attrs)
        elif self._pre_depth:
            self._parts.append("\n" if tag == "br" else "")
        elif tag in _HEADINGS:
            self.flush()
            self._heading_level = _HEADINGS[tag]
        elif tag in _LISTS or tag == "li":
            self._start_list(tag)
        elif tag in ("table", "tr", "td", "th", "caption"):
            self._start_table(tag)
        elif tag == "br":
            self._parts.append("\n")
        elif tag == "img":
            self._parts.append(dict(attrs).get("alt") or "")
        elif tag in _PARAGRAPHS:
            self._end_paragraph()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # A browser ignores the slash of `<script/>` and `<div/>`: so do we, but for what never has content.
        self.handle_starttag(tag, attrs)
        if tag == self._dropped_tag and tag == "svg":
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._dropped_tag:
            self._dropped_depth -= tag == self._dropped_tag
            if not self._dropped_depth:
                self._dropped_tag = ""
        elif tag == "pre":
            self._end_pre()
        elif self._pre_depth:
            return
        elif tag == "code":
            self._parts.append("`")
        elif tag in _HEADINGS:
            self.flush()
        elif tag in _LISTS:
            self._end_list()
        elif tag == "table":
            self._table_depth = max(0, self._table_depth - 1)
            self._end_paragraph()
        elif tag in _PARAGRAPHS:
            self._end_paragraph()

    def handle_data(self, data: str) -> None:
        if self._dropped_tag:
            return
        text = data if self._pre_depth else _SPACES.sub(" ", data)
        follows_space = bool(self._parts) and self._parts[-1].endswith((" ", "\n")) and not self._pre_depth
        self._parts.append(text.lstrip(" ") if follows_space else text)

    def flush(self) -> None:
        """End the block that is being gathered."""
        text = "".join(self._parts)
        self._parts.clear()
        if self._pre_depth:
            code = text.strip("\n").rstrip()
            self._add(Block("code", code, language=self._pre_language))
        elif self._heading_level:
            self._add(Block("heading", _SPACES.sub(" ", text).replace("`", "").strip(" #¶"), self._heading_level))
        else:
            lines = (line.rstrip() for line in text.split("\n"))
            self._add(Block("text", "\n".join(line for line in lines if line.strip(" -`|")).strip("\n")))
        self._heading_level = 0

    def _add(self, block: Block) -> None:
        if block.text.strip():
            self.blocks.append(block if block.kind == "code" else _strip_first_line(block))

    def _start_code(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = _LANGUAGE_CLASS.search(dict(attrs).get("class") or "")
        language = named.group(1) if named else ""
        if tag == "pre":
            if not self._pre_depth:
                self.flush()
                self._pre_language = language
            self._pre_depth += 1
        elif self._pre_depth:
            self._pre_language = self._pre_language or language
        else:
            self._parts.append("`")

    def _end_pre(self) -> None:
        if self._pre_depth == 1:
            self.flush()
        self._pre_depth = max(0, self._pre_depth - 1)

    def _start_list(self, tag: str) -> None:
        if tag in _LISTS:
            if not self._list_counters:
                self._end_paragraph()
            self._list_counters.append(1 if tag == "ol" else 0)
            return
        depth = min(len(self._list_counters), _MAX_INDENT)
        marker = "- "
        if self._list_counters and self._list_counters[-1]:
            marker = f"{self._list_counters[-1]}. "
            self._list_counters[-1] += 1
        self._parts.append("\n" + "  " * max(0, depth - 1) + marker)

    def _end_list(self) -> None:
        if self._list_counters:
            self._list_counters.pop()
        if not self._list_counters:
            self._end_paragraph()

    def _start_table(self, tag: str) -> None:
        if tag == "table":
            if not self._table_depth:
                self._end_paragraph()
            self._table_depth += 1
        elif tag in ("tr", "caption"):
            self._parts.append("\n")
            self._is_first_cell = True
        else:
            self._parts.append("" if self._is_first_cell else " | ")
            self._is_first_cell = False

    def _end_paragraph(self) -> None:
        """End a paragraph; inside a list or a table only the item or the row ends, for the whole is one block."""
        if self._heading_level or self._table_depth or self._list_counters:
            self.handle_data(" ")
        else:
            self.flush()


def _strip_first_line(block: Block) -> Block:
    return Block(block.kind, block.text.strip(), block.level)
