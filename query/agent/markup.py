"""Markdown, as far as answers need it: what is code, what is a citation, what a reader sees in plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_FENCE = re.compile(r"[ >]{0,20}(`{3,}|~{3,})(.*)$")
_INLINE_CODE = re.compile(r"(?<!`)(`{1,8})(?!`)[^`\n]+\1(?!`)")
_CITATION_GROUP = re.compile(
    r"(?<!\\)(?:\[|\u3010)\^?(?P<numbers>\d{1,4}(?:\s{0,3}[,;]\s{0,3}\^?\d{1,4})*)"
    r"(?:\u2020[^\u3011\]\n]{0,80})?(?:\]|\u3011)"
    r"(?:\([^()\n]{0,300}\))?"
)
_CITATION_DEFINITION = re.compile(r"^[ >]{0,9}\[\^?\d{1,4}\]:[^\n]*$", re.MULTILINE)
_NUMBER = re.compile(r"\d+")
_HEADING = re.compile(r"#{1,6}\s+(.+)$")
_HEADING_LINE = re.compile(r"^#{1,6}\s+", re.MULTILINE)
_SPACES = re.compile(r"\s+")
SNIPPET_CHARACTERS = 200


def split_code(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (is code, text) for stretches that joined give `text` again: fenced blocks, code spans, and the rest."""
    prose: list[str] = []
    code: list[str] = []
    closing = ""
    for line in text.splitlines(keepends=True):
        fence = _FENCE.match(line)
        if closing:
            code.append(line)
            if fence and fence[1].startswith(closing) and not fence[2].strip():
                yield True, "".join(code)
                closing, code = "", []
        elif fence and not (fence[1][0] == "`" and "`" in fence[2]):
            yield from _split_spans("".join(prose))
            closing, code, prose = fence[1], [line], []
        else:
            prose.append(line)
    yield from _split_spans("".join(prose))
    if code:
        yield True, "".join(code)


def _split_spans(prose: str) -> Iterator[tuple[bool, str]]:
    start = 0
    for span in _INLINE_CODE.finditer(prose):
        yield False, prose[start : span.start()]
        yield True, span.group()
        start = span.end()
    yield False, prose[start:]


def map_prose(text: str, change: Callable[[str], str]) -> str:
    """Return `text` with `change` applied to everything that is not code."""
    return "".join(part if is_code else change(part) for is_code, part in split_code(text))


def resolve_citations(text: str, source_count: int) -> tuple[str, set[int]]:
    """Keep the citations that resolve, in one spelling, and drop the others; return the text and the numbers cited.

    `[2, 3]`, `[^2]` and the lenticular brackets of some models become `[2][3]` and `[2]`. A citation never becomes a
    link: the addresses of sources come from us alone.
    """
    cited: set[int] = set()

    def replace(match: re.Match[str]) -> str:
        numbers = [int(number) for number in _NUMBER.findall(match["numbers"])]
        resolved = [number for number in numbers if 1 <= number <= source_count]
        cited.update(resolved)
        return "".join(f"[{number}]" for number in resolved)

    def change(prose: str) -> str:
        return _CITATION_GROUP.sub(replace, drop_definitions(prose))

    return map_prose(text, change).strip(), cited


def drop_definitions(text: str) -> str:
    """Return the text without the lines that say where a footnote's number leads."""
    return _CITATION_DEFINITION.sub("", text)


def escape_citations(text: str) -> str:
    """Return quoted Markdown in which nothing outside code reads as one of our citations."""
    return map_prose(
        text, lambda prose: _CITATION_GROUP.sub(lambda match: "\\" + match[0].replace("]", "\\]", 1), prose)
    )


def drop_citations(text: str) -> str:
    """Return an earlier answer without its citations, whose numbers mean other sources now."""
    return map_prose(text, lambda prose: _CITATION_GROUP.sub("", prose))


def read_heading(content: str) -> str:
    """Return the heading that a passage begins with, without its marks; empty when it begins with none."""
    heading = _HEADING.match(content.split("\n", 1)[0])
    return heading[1] if heading else ""


def make_snippet(content: str, limit: int = SNIPPET_CHARACTERS) -> str:
    """Return the beginning of a passage as one plain line of at most `limit` characters, cut at a word."""
    without_heading = content.split("\n", 1)[1] if content.startswith("#") and "\n" in content else content
    lines = (line for line in without_heading[: limit * 8].split("\n") if not _FENCE.match(line))
    plain = _HEADING_LINE.sub("", "\n".join(lines)).replace("`", "").replace("**", "")
    plain = _SPACES.sub(" ", plain).strip()
    if len(plain) <= limit:
        return plain
    return plain[: limit - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"
