"""Markdown to blocks: CommonMark's block structure by markdown-it-py, with the text left as its author marked it up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from knowledge.loaders.html import read_html
from knowledge.loaders.protocol import Block, keep_readable

# Deeper lists and quotations than this are not read: every level of nesting costs another pass over its lines.
_MAX_NESTING = 40
_MAX_INDENT = 8

# The library's tokens cost about 500 bytes a line, so a large document is parsed a window of lines at a time.
_WINDOW_LINES = 2_000
_MAX_WINDOW_LINES = 20_000
_FENCE = re.compile(r"[ >*+0-9.)-]{0,20}(`{3,}|~{3,})(.*)$")
_HTML_BLOCK_START = re.compile(r" {0,3}<(?:(!--)|(pre|script|style|textarea)\b)", re.IGNORECASE)

# Every repeat is bounded or stops at the character that starts the next match, which keeps the scan linear.
_CODE_OR_LINK = re.compile(
    r"(?P<code>`[^`\n]*`)"
    r"|!\[(?P<alt>[^\[\]\n]{0,300})\]\([^()\s]{0,1000}(?:[ ]\"[^\"\n]{0,200}\")?\)"
    r"|(?P<link>\[(?P<label>[^\[\]\n]{1,300})\]\((?P<target>[^()\s]{0,1000})(?:[ ]\"[^\"\n]{0,200}\")?\))"
    r"|(?P<tag></?[a-zA-Z][a-zA-Z0-9-]{0,30}(?:\s[^<>]{0,500})?/?>)"
)
_REFERENCE_DEFINITION = re.compile(r"^ {0,3}\[[^\[\]\n]{1,300}\]:[ \t]*\S{1,1000}", re.MULTILINE)
_HEADING_NOISE = re.compile(r"[`*]|\{#[^{}]{0,100}\}\s*$")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?:(?!---)[^\n]*\n){0,200}?---[ \t]*\n")


class MarkdownLoader:
    """Reads text/markdown (CommonMark and tables)."""

    def __init__(self) -> None:
        # Link definitions are left to us: the library scans the rest of the paragraph anew for each line of them.
        self._parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable("table").disable("reference")
        self._parser.core.ruler.enableOnly(["normalize", "block"])

    def load(self, content: str) -> list[Block]:
        return keep_readable(
            self._read_windows(_FRONT_MATTER.sub("", content.replace("\r\n", "\n").replace("\r", "\n")))
        )

    def _read_windows(self, content: str) -> Iterator[Block]:
        for lines in _cut_windows(content.split("\n")):
            yield from _BlockReader(lines).read(self._parser.parse("\n".join(lines)))


def _cut_windows(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut where an outermost block surely begins: at an unindented line after a blank one, outside of code."""
    start = 0
    closing = ""  # what ends the code or comment that the line stands in
    for at, line in enumerate(lines):
        can_cut = not closing and line[:1].strip() and at and not lines[at - 1].strip()
        if at - start >= _MAX_WINDOW_LINES or (at - start >= _WINDOW_LINES and can_cut):
            yield lines[start:at]
            start = at
        closing = _follow_code(line, closing)
    yield lines[start:]


def _follow_code(line: str, closing: str) -> str:
    """Return what ends the code or comment that is open after `line`; an empty string when none is."""
    fence = _FENCE.match(line)
    if closing[:1] in ("`", "~") and closing:
        return "" if fence and fence[1].startswith(closing) and not fence[2].strip() else closing
    if closing:
        return "" if closing in line.lower() else closing
    if fence:
        return "" if fence[1][0] in fence[2] and fence[1][0] == "`" else fence[1]
    html = _HTML_BLOCK_START.match(line)
    if html is None:
        return ""
    end = "-->" if html[1] else f"</{html[2].lower()}>"
    return "" if end in line.lower() else end


class _BlockReader:
    """Turns the library's flat tokens into blocks. A list, with the lists in it, becomes one text block."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._list_depth = 0
        self._marker = ""
        self._items: list[str] = []
        self._heading_level = 0
        self._table_depth = 0

    def read(self, tokens: Sequence[Token]) -> Iterator[Block]:
        for token in tokens:
            yield from self._read_token(token)
        yield from self._end_items()

    def _read_token(self, token: Token) -> Iterator[Block]:
        kind = token.type
        if kind in ("fence", "code_block"):
            yield from self._end_items()
            language = token.info.split()[0][:20] if token.info.split() else ""
            yield Block("code", token.content.strip("\n").rstrip(), language=language)
        elif kind == "heading_open":
            yield from self._end_items()
            self._heading_level = int(token.tag[1])
        elif kind == "inline":
            yield from self._read_inline(token)
        elif kind == "html_block":
            yield from self._end_items()
            yield from read_html(token.content)
        elif kind == "table_open":
            yield from self._end_items()
            yield self._read_table(token)
            self._table_depth += 1
        elif kind == "table_close":
            self._table_depth -= 1
        else:
            yield from self._follow_list(token)

    def _read_inline(self, token: Token) -> Iterator[Block]:
        if self._table_depth:
            return
        text = clean_inline(token.content)
        if self._heading_level:
            yield Block("heading", _HEADING_NOISE.sub("", text).strip(), self._heading_level)
            self._heading_level = 0
        elif self._list_depth:
            indent = "  " * min(self._list_depth - 1, _MAX_INDENT)
            first, *rest = text.split("\n")
            hanging = indent + "  "
            self._items.append((indent + self._marker if self._marker else hanging) + first)
            self._items.extend(hanging + line.lstrip() for line in rest)
            self._marker = ""
        else:
            yield Block("text", text)

    def _read_table(self, token: Token) -> Block:
        first, end = token.map or (0, 0)
        return Block("text", "\n".join(clean_inline(line.strip()) for line in self._lines[first:end]))

    def _follow_list(self, token: Token) -> Iterator[Block]:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            self._list_depth += 1
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            self._list_depth -= 1
            if not self._list_depth:
                yield from self._end_items()
        elif token.type == "list_item_open":
            self._marker = f"{token.info}. " if token.info else "- "

    def _end_items(self) -> Iterator[Block]:
        if self._items:
            yield Block("text", "\n".join(self._items))
            self._items = []


def clean_inline(text: str) -> str:
    """Reduce what only works in its own place: relative links to their text, pictures to their description, HTML tags.

    Code spans stay as they are, and so do links that carry a whole address.
    """
    text = _REFERENCE_DEFINITION.sub("", text)
    return _CODE_OR_LINK.sub(_replace_inline, text).strip()


def _replace_inline(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return match["code"]
    if match["link"] is None:
        return match["alt"] or ""
    return match["link"] if match["target"].startswith(("http://", "https://", "mailto:")) else match["label"]
