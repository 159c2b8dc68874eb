"""Blocks to pieces: what is embedded, stored, searched and quoted.

The cuts follow the document: its headings first, then its paragraphs, then its sentences. Code stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from knowledge.loaders.protocol import Block

_MAX_HEADING_CHARACTERS = 200
# No one reads a line of code this long (minified, or data): it may be cut, where other lines of code never are.
_MAX_CODE_LINE_CHARACTERS = 10_000
_FENCE_RUN = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]?\s+|\n")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a document under its headings. `text` is Markdown with its code in fences."""

    heading_path: tuple[str, ...]
    text: str
    title: str = ""

    @property
    def content(self) -> str:
        """What is stored, searched by words and shown: the headings as one Markdown heading, and the text."""
        return f"## {' > '.join(self.heading_path)}\n\n{self.text}" if self.heading_path else self.text

    @property
    def embedding_text(self) -> str:
        """What is embedded: the title and the headings say what the text is about."""
        return f"{' > '.join(filter(None, (self.title, *self.heading_path)))}\n\n{self.text}".strip()


class Splitter(Protocol):
    """Cuts a document into pieces."""

    def split(self, title: str, blocks: Sequence[Block]) -> list[Piece]:
        """Return the pieces in reading order, none of them blank."""
        ...


@dataclass(slots=True)
class _Section:
    path: tuple[str, ...]
    units: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(len(unit) + 2 for unit in self.units)


class HeadingSplitter:
    """Follows headings, keeps fences whole, merges tiny sections.

    Args:
        target_characters: text is packed up to this size.
        code_limit_characters: a block of code up to this size is never cut; a longer one is cut at line ends.
        tiny_characters: a section smaller than this joins its neighbour, if both fit into one piece.
    """

    def __init__(
        self, *, target_characters: int = 1_000, code_limit_characters: int = 2_000, tiny_characters: int = 200
    ) -> None:
        self._target = target_characters
        self._code_limit = max(code_limit_characters, target_characters)
        self._tiny = tiny_characters

    def split(self, title: str, blocks: Sequence[Block]) -> list[Piece]:
        """Return the document's pieces in reading order. Linear in the size of the blocks."""
        pieces = []
        for section in self._merge_tiny(self._gather_sections(title, blocks)):
            pieces += [Piece(section.path, text, title) for text in self._pack(section.units)]
        # a document of nothing but its title can be found by that
        return pieces or [Piece((), block.text) for block in blocks[:1] if block.text.strip()]

    def _gather_sections(self, title: str, blocks: Sequence[Block]) -> Iterator[_Section]:
        """Yield each heading's own content, headings without any left out unless nothing comes below them."""
        stack: list[tuple[int, str]] = []
        section = _Section(())
        for block in blocks:
            if block.kind == "heading" and len(block.text) <= _MAX_HEADING_CHARACTERS:
                is_parent = not section.units and stack and block.level > stack[-1][0]
                if not is_parent:
                    yield from _finish(section)
                while stack and stack[-1][0] >= block.level:
                    stack.pop()
                stack.append((block.level, " ".join(block.text.split())))
                section = _Section(_drop_title(title, tuple(heading for _, heading in stack)))
            elif block.kind == "code":
                section.units.extend(self._cut_code(block))
            else:
                section.units.extend(self._cut_text(block.text))
        yield from _finish(section)

    def _merge_tiny(self, sections: Iterable[_Section]) -> Iterator[_Section]:
        """Join a tiny section with the one before it. The deeper headings then stand in the text."""
        held: _Section | None = None
        for section in sections:
            if held is None:
                held = section
                continue
            is_tiny = min(held.size, section.size) < self._tiny
            common = _share_prefix(held.path, section.path)
            if is_tiny and held.size + section.size <= self._target:
                held = _Section(common, [*_show_headings(held, common), *_show_headings(section, common)])
                continue
            yield held
            held = section
        if held is not None:
            yield held

    def _pack(self, units: Sequence[str]) -> list[str]:
        """Fill pieces up to the target. What introduces code goes with it, and no tiny rest stands alone."""
        groups: list[list[str]] = []
        size = 0
        for position, unit in enumerate(units):
            follower = units[position + 1] if position + 1 < len(units) else ""
            introduces = unit.endswith(":") and _is_code(follower)
            needed = len(unit) + (len(follower) if introduces and len(unit) + len(follower) <= self._code_limit else 0)
            is_introduced = _is_code(unit) and bool(groups) and (size < self._tiny or groups[-1][-1].endswith(":"))
            if not groups or size + needed > (self._code_limit if is_introduced else self._target):
                groups.append([])
                size = 0
            groups[-1].append(unit)
            size += len(unit) + 2
        if len(groups) > 1 and size < self._tiny and sum(map(len, groups[-2])) + size <= self._target + self._tiny:
            groups[-2:] = [groups[-2] + groups[-1]]
        return ["\n\n".join(group) for group in groups]

    def _cut_code(self, block: Block) -> Iterator[str]:
        fence = "`" * max(3, 1 + max((len(run) for run in _FENCE_RUN.findall(block.text)), default=0))
        room = self._code_limit - 2 * len(fence) - len(block.language) - 2
        for code in [block.text] if len(block.text) <= room else _pack_lines(block.text.split("\n"), room):
            yield f"{fence}{block.language}\n{code}\n{fence}"

    def _cut_text(self, text: str) -> Iterator[str]:
        """Cut a paragraph that is too long at its sentences, and a sentence that is too long at its words."""
        text = text.strip("\n")
        if len(text) <= self._target:
            yield text
            return
        pending: list[str] = []
        size = 0
        for sentence in self._iterate_sentences(text):
            if pending and size + len(sentence) > self._target:
                yield "".join(pending).strip()
                pending, size = [], 0
            pending.append(sentence)
            size += len(sentence)
        rest = "".join(pending).strip()
        if rest:
            yield rest

    def _iterate_sentences(self, text: str) -> Iterator[str]:
        start = 0
        for end in (*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)):
            while end - start > self._target:
                cut = text.rfind(" ", start + self._target // 2, start + self._target) + 1 or start + self._target
                yield text[start:cut]
                start = cut
            if end > start:
                yield text[start:end]
                start = end


def _pack_lines(lines: Iterable[str], room: int) -> Iterator[str]:
    pending: list[str] = []
    size = 0
    for whole in lines:
        for line in _cut_monster(whole):
            if pending and size + len(line) + 1 > room:
                yield "\n".join(pending)
                pending, size = [], 0
            pending.append(line)
            size += len(line) + 1
    if any(line.strip() for line in pending):
        yield "\n".join(pending)


def _cut_monster(line: str) -> Iterator[str]:
    for start in range(0, max(len(line), 1), _MAX_CODE_LINE_CHARACTERS):
        yield line[start : start + _MAX_CODE_LINE_CHARACTERS]


def _is_code(unit: str) -> bool:
    return unit.startswith("```")


def _drop_title(title: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out a first heading that only repeats the document's title."""
    return path[1:] if path and path[0].casefold() == title.strip().casefold() else path


def _finish(section: _Section) -> Iterator[_Section]:
    if section.units:
        yield section
    elif section.path:
        yield _Section(section.path[:-1], [section.path[-1]])


def _share_prefix(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    shared = 0
    while shared < min(len(left), len(right)) and left[shared] == right[shared]:
        shared += 1
    return left[:shared]


def _show_headings(section: _Section, common: tuple[str, ...]) -> list[str]:
    below = section.path[len(common) :]
    return [f"**{' > '.join(below)}**", *section.units] if below else section.units
