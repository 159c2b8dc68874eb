"""reStructuredText to blocks, line by line.

A full parser is of no use here: most documentation is written for Sphinx, with directives and roles that docutils alone
refuses. What a reader sees is kept: headings, paragraphs, code, and the text inside notes and other directives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from knowledge.loaders.protocol import MAX_HEADING_LEVEL, Block, keep_readable

_CODE_DIRECTIVES = frozenset(
    ("code", "code-block", "sourcecode", "parsed-literal", "doctest", "testcode", "prompt", "math")
)
# They place something, or name something for the index: none has text of its own that a reader would see here.
_DROPPED_DIRECTIVES = frozenset(
    [
        "toctree",
        "contents",
        "raw",
        "image",
        "figure",
        "include",
        "literalinclude",
        "index",
        "meta",
        "highlight",
        "tabularcolumns",
        "currentmodule",
        "module",
        "automodule",
        "autoclass",
        "autofunction",
        "autodata",
        "automethod",
        "autoattribute",
        "autoexception",
        "autosummary",
        "click",
        "moduleauthor",
        "sectionauthor",
        "codeauthor",
        "default-role",
        "role",
        "replace",
        "unicode",
        "date",
        "class",
        "testsetup",
        "testcleanup",
        "graphviz",
        "digraph",
    ]
)
_ADMONITIONS = frozenset(
    ["note", "warning", "tip", "important", "caution", "danger", "attention", "error", "hint", "seealso"]
)
_VERSION_NOTES = {
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
}
_CODE_ROLES = frozenset(
    [
        "class",
        "func",
        "meth",
        "attr",
        "mod",
        "exc",
        "data",
        "const",
        "obj",
        "setting",
        "option",
        "program",
        "file",
        "envvar",
        "command",
        "code",
        "samp",
        "kbd",
        "signal",
        "event",
        "control",
        "state",
        "literal",
        "keyword",
        "token",
        "regexp",
        "type",
        "any",
    ]
)

_UNDERLINE = re.compile(r"([!-/:-@\[-`{-~])\1{2,}$")
_DIRECTIVE = re.compile(r"( *)\.\. +([A-Za-z][\w:.+-]{0,60}?) ?:: *(.*)$")
_EXPLICIT_MARKUP = re.compile(r"( *)\.\.(?: (.*))?$")
_FOOTNOTE = re.compile(r"\[([\w#*.-]{1,40})\] (.*)$")
_OPTION = re.compile(r" *:[\w -]{1,40}:(?: .*)?$")
_TABLE_BORDER = re.compile(r" *(?:\+[-=+]{3,}|={2,}(?: +={2,})+) *$")
_LIST_ITEM = re.compile(r"( *)(?:[-*+•]|#\.|\d{1,3}[.)]) +(?=\S)")

# Repeats are bounded, or stop at the character that begins the next match: the scan stays linear.
_ROLE = re.compile(r":([a-zA-Z][\w:+.-]{0,40}):`([^`]{1,500})`")
_TITLED_TARGET = re.compile(r"^(.{1,400}?)\s*<([^<>]{1,300})>$", re.DOTALL)
_LITERAL = re.compile(r"``([^`\n]{1,500})``")
_LINK = re.compile(r"`([^`<>]{1,400}?)\s*<([^<>`\s]{1,500})>`__?")
_REFERENCE = re.compile(r"`([^`]{1,400})`__?")
_NAMED_REFERENCE = re.compile(r"(?<![\w`.-])([A-Za-z][A-Za-z0-9.-]{0,60})__?(?=[\s,.;:!?)]|$)")
_SUBSTITUTION = re.compile(r"\|[\w-]{1,40}\|_?")
_FOOTNOTE_REFERENCE = re.compile(r" ?\[[\w#*]{1,40}\]_")


class ReStructuredTextLoader:
    """Reads text/x-rst, Sphinx's directives and roles included."""

    def load(self, content: str) -> list[Block]:
        lines = content.expandtabs(8).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return keep_readable(_LineReader(lines).read())


class _LineReader:
    """Walks the lines once. Nested bodies need no recursion: their text is read on as text, at whatever indent."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = [line.rstrip() for line in lines]
        self._at = 0
        self._styles: dict[tuple[str, bool], int] = {}  # (underline character, has an overline) -> level
        self._paragraph: list[str] = []

    def read(self) -> Iterator[Block]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line:
                yield from self._end_paragraph()
                self._at += 1
            elif heading := self._read_heading():
                yield from self._end_paragraph()
                yield heading
            elif line.lstrip(" ").startswith("..") and (markup := _EXPLICIT_MARKUP.match(line)):
                yield from self._end_paragraph()
                yield from self._read_explicit_markup(markup)
            else:
                self._paragraph.append(line)
                self._at += 1
        yield from self._end_paragraph()

    # --- headings

    def _read_heading(self) -> Block | None:
        """Return the section title at this line, if there is one, and step over it."""
        if self._paragraph:
            return None
        line, below, second = (self._peek(offset) for offset in range(3))
        overline = _UNDERLINE.match(line)
        if overline and below and second == line and len(below.strip()) <= len(line):
            self._at += 3
            return self._make_heading(below.strip(), line[0], has_overline=True)
        underline = _UNDERLINE.match(below)
        if underline and not line.startswith(" ") and not overline and len(below) >= min(len(line), 4):
            self._at += 2
            return self._make_heading(line, below[0], has_overline=False)
        if overline and not below:  # a transition
            self._at += 1
            return Block("text", "")
        return None

    def _make_heading(self, title: str, character: str, *, has_overline: bool) -> Block:
        level = self._styles.setdefault((character, has_overline), len(self._styles) + 1)
        return Block("heading", clean_inline(title).replace("`", "").strip(), min(level, MAX_HEADING_LEVEL))

    # --- directives, comments, targets

    def _read_explicit_markup(self, markup: re.Match[str]) -> Iterator[Block]:
        indent, rest = len(markup[1]), markup[2] or ""
        self._at += 1
        directive = _DIRECTIVE.match(markup[0])
        footnote = _FOOTNOTE.match(rest)
        if directive:
            yield from self._read_directive(indent, directive[2].rpartition(":")[2].lower(), directive[3].strip())
        elif footnote:
            self._paragraph.append(footnote[2])
        else:  # a comment, a link's target, a substitution
            self._take_body(indent)

    def _read_directive(self, indent: int, name: str, argument: str) -> Iterator[Block]:
        if name in _DROPPED_DIRECTIVES:
            self._take_body(indent)
        elif name in _CODE_DIRECTIVES:
            self._skip_options(indent)
            language = argument.split()[0][:20] if argument else ""
            yield _make_code(self._take_body(indent), language)
        elif name in _VERSION_NOTES:
            self._paragraph.append(f"{_VERSION_NOTES[name]} {argument}")
        elif name in _ADMONITIONS:
            self._skip_options(indent)
            self._paragraph.append(f"{'See also' if name == 'seealso' else name.capitalize()}: {argument}".rstrip())
            self._join_body(indent)
        else:  # a titled box, or the description of an object: its argument is the title
            self._skip_options(indent)
            if argument and self._has_body(indent):
                yield Block("text", f"**{clean_inline(argument)}**")

    def _skip_options(self, indent: int) -> None:
        while _OPTION.match(self._peek(0)) and _measure_indent(self._peek(0)) > indent:
            self._at += 1

    def _has_body(self, indent: int) -> bool:
        ahead = self._at
        while ahead < len(self._lines) and not self._lines[ahead] and ahead < self._at + 3:
            ahead += 1
        return ahead < len(self._lines) and _measure_indent(self._lines[ahead]) > indent

    def _join_body(self, indent: int) -> None:
        """Step over the blank line between an admonition's mark and its first paragraph, so that both are one block."""
        if not self._peek(0) and _measure_indent(self._peek(1)) > indent:
            is_directive = _EXPLICIT_MARKUP.match(self._peek(1)) is not None
            self._at += 0 if is_directive else 1

    def _take_body(self, indent: int) -> list[str]:
        """Step over the lines that are indented deeper than `indent`, and return them without blank ends."""
        start = self._at
        while self._at < len(self._lines) and (
            not self._lines[self._at] or _measure_indent(self._lines[self._at]) > indent
        ):
            self._at += 1
        end = self._at
        while end > start and not self._lines[end - 1]:
            end -= 1
        self._at = end
        while start < end and not self._lines[start]:
            start += 1
        return self._lines[start:end]

    # --- paragraphs

    def _end_paragraph(self) -> Iterator[Block]:
        lines, self._paragraph = self._paragraph, []
        if not lines:
            return
        if lines[0].lstrip().startswith(">>> "):
            yield _make_code(lines, "pycon")
            return
        # At a heading or a directive the paragraph ends without a blank line, and then no literal block can follow.
        has_literal = lines[-1].endswith("::") and not self._peek(0)
        if lines[-1].endswith("::"):
            lines[-1] = lines[-1][:-2].rstrip() + (
                "" if lines[-1][:-2].endswith((" ", "::")) or lines[-1] == "::" else ":"
            )
        yield Block("text", _join_lines(lines))
        if has_literal:
            indent = _measure_indent(lines[0])
            body = self._take_body(indent)
            if body:
                yield _make_code(body, "")

    def _peek(self, offset: int) -> str:
        return self._lines[self._at + offset] if self._at + offset < len(self._lines) else ""


def _join_lines(lines: list[str]) -> str:
    """Return a paragraph, list or table as Markdown, without the indent that its place gave it."""
    first, rest = lines[:1], lines[1:]
    if _LIST_ITEM.match(lines[0]):
        first, rest = [], lines
    kept = [line for line in _dedent(first) + _dedent(rest) if not _TABLE_BORDER.match(line)]
    marked = [
        _LIST_ITEM.sub(lambda item: item[1] + ("1. " if "#" in item[0] else item[0].strip() + " "), line)
        for line in kept
    ]
    return clean_inline("\n".join(marked))


def _make_code(lines: list[str], language: str) -> Block:
    return Block("code", "\n".join(_dedent(lines)), language=language)


def _dedent(lines: list[str]) -> list[str]:
    margin = min((_measure_indent(line) for line in lines if line), default=0)
    return [line[margin:] for line in lines]


def _measure_indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def clean_inline(text: str) -> str:
    """Reduce roles and references to the text that a reader sees; literals become Markdown's code spans."""
    text = _ROLE.sub(_replace_role, text)
    text = _LITERAL.sub(r"`\1`", text)
    text = _LINK.sub(_replace_link, text)
    text = _REFERENCE.sub(lambda match: match[1] if match[0].endswith("_") else match[0], text)
    text = _NAMED_REFERENCE.sub(r"\1", text)
    text = _SUBSTITUTION.sub("", _FOOTNOTE_REFERENCE.sub("", text))
    return text.replace("\\ ", "").strip("\n").rstrip()


def _replace_role(match: re.Match[str]) -> str:
    name, text = match[1].rpartition(":")[2], match[2]
    titled = _TITLED_TARGET.match(text)
    if titled:
        shown = titled[1]
    else:
        is_shortened = text.startswith("~")
        shown = text.lstrip("~@!.-" if name in ("class", "func", "meth", "attr", "exc", "mod", "data") else "~!")
        shown = shown.rpartition(".")[2] if is_shortened else shown
    return f"`{shown}`" if name in _CODE_ROLES and "`" not in shown else shown


def _replace_link(match: re.Match[str]) -> str:
    return f"[{match[1]}]({match[2]})" if match[2].startswith(("http://", "https://")) else match[1]
