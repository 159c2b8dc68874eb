"""Answers without a model: the best passage, quoted as it stands and named as a quotation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from query.agent import followups
from query.agent.markup import escape_citations, read_heading
from query.agent.protocols import REFUSAL_MARKER, Exchange, Passage, Prompt, Source
from query.agent.words import content_stems

# A passage's rank: nearness in meaning; the shares (0..1) of the question's words that it holds, and that its title and
# headings hold, which say what a passage is about, where others only mention it; and its score in the search as a share
# of the best one's. Tuned on 41 questions to one documentation, where neighbouring weights do equally well.
_WORDS_WEIGHT = 0.1
_HEADING_WEIGHT = 0.2
_SEARCH_WEIGHT = 0.5
# What a further hundred characters of quotation must bring in words of the question to be worth reading.
_LENGTH_COST_PER_100 = 0.01
_CODE_BONUS = 0.08
# Less than this saves a reader nothing and may cost the context.
_MIN_QUOTE_CHARACTERS = 600
_MAX_UNITS = 40
# A second passage is quoted when it fits nearly as well: which of the two answers, a reader sees better than a formula.
_MAX_QUOTES = 2
_QUOTE_MARGIN = 0.07
_SEE_ALSO = 2
_SEE_ALSO_MARGIN = 0.12

_FENCE = re.compile(r"(`{3,}|~{3,})")
_SUBHEADING = re.compile(r"\*\*[^*\n]+\*\*$")
_MARKDOWN_SPECIALS = re.compile(r"([\\`*_\[\]<])")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A paragraph, a list, a subheading or a block of code of a passage."""

    text: str
    is_code: bool

    @property
    def leads_on(self) -> bool:
        """Whether what comes next belongs to it: it announces code, or is a heading."""
        text = self.text.strip()
        return not self.is_code and (text.endswith(":") or _SUBHEADING.fullmatch(text) is not None)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A passage that may be quoted, and how well it fits."""

    rank: float
    source: Source
    passage: Passage


class QuotingLLM:
    """Quotes a contiguous stretch of the passage that fits the question best, with its code, and cites it; and one of
    the next best when that fits nearly as well.
    """

    def generate(self, prompt: Prompt) -> str:
        """Return one or two quotations with their citations, and up to two other sources to see."""
        candidates = [(source, passage) for source in prompt.sources for passage in source.passages]
        if not candidates:
            return REFUSAL_MARKER
        asked = content_stems(prompt.question)
        best_score = max(passage.score for _, passage in candidates)
        ranked = sorted(
            (_Candidate(_rank(passage, asked, best_score), source, passage) for source, passage in candidates),
            key=lambda candidate: candidate.rank,
            reverse=True,
        )
        quoted = [candidate for candidate in ranked[:_MAX_QUOTES] if candidate.rank >= ranked[0].rank - _QUOTE_MARGIN]
        return "\n\n".join(_quote(candidate, asked) for candidate in quoted) + _refer_to_others(ranked, quoted)

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        return followups.make_self_contained(question, history)


def _rank(passage: Passage, asked: set[str], best_score: float) -> float:
    """Three witnesses of fitness: meaning, the question's words, and the place that the search gave the passage."""
    about = content_stems(passage.title) | content_stems(read_heading(passage.content))
    mentioned = about | content_stems(passage.content)
    words = _WORDS_WEIGHT * len(asked & mentioned) + _HEADING_WEIGHT * len(asked & about)
    place = passage.score / best_score if best_score > 0 else 0.0
    return passage.cosine + words / max(1, len(asked)) + _SEARCH_WEIGHT * place


def _quote(chosen: _Candidate, asked: set[str]) -> str:
    heading, units = _parse(chosen.passage.content)
    quoted = _show(_choose_stretch(units, asked))
    place = f", “{_escape(heading)}”" if heading else ""
    return f"From {_name(chosen.source)}{place}:\n\n{quoted}"


def _refer_to_others(ranked: Sequence[_Candidate], quoted: Sequence[_Candidate]) -> str:
    named = {candidate.source.number for candidate in quoted}
    others: dict[int, Source] = {}
    for candidate in ranked[1:]:
        is_near = candidate.rank >= ranked[0].rank - _SEE_ALSO_MARGIN
        if candidate.source.number not in named and is_near and len(others) < _SEE_ALSO:
            others.setdefault(candidate.source.number, candidate.source)
    if not others:
        return ""
    return "\n\nSee also " + " and ".join(_name(source) for source in others.values()) + "."


def _name(source: Source) -> str:
    return f"**{_escape(source.title) or 'an untitled document'}** [{source.number}]"


def _escape(text: str) -> str:
    return _MARKDOWN_SPECIALS.sub(r"\\\1", " ".join(text.split()))


def _show(units: Sequence[_Unit]) -> str:
    """Prose as one blockquote for each run of paragraphs, code as the fences that it stands in."""
    shown: list[str] = []
    for position, unit in enumerate(units):
        text = unit.text
        if not unit.is_code:
            text = "\n".join(f"> {line}".rstrip() for line in escape_citations(text).split("\n"))
        follows_prose = position > 0 and not unit.is_code and not units[position - 1].is_code
        shown.append((f"\n>\n{text}" if follows_prose else f"\n\n{text}") if shown else text)
    return "".join(shown)


def _parse(content: str) -> tuple[str, list[_Unit]]:
    """Return a passage's heading (empty when it has none) and its units."""
    lines = content.strip("\n").split("\n")
    heading = read_heading(lines[0])
    units: list[_Unit] = []
    pending: list[str] = []
    closing = ""

    def end_unit(*, is_code: bool) -> None:
        if any(line.strip() for line in pending):
            units.append(_Unit("\n".join(pending), is_code))
        pending.clear()

    for line in lines[1:] if heading else lines:
        fence = _FENCE.match(line)
        if closing:
            pending.append(line)
            if fence and fence[1].startswith(closing) and not line.strip().strip(closing[0]):
                end_unit(is_code=True)
                closing = ""
        elif fence:
            end_unit(is_code=False)
            pending.append(line)
            closing = fence[1]
        elif line.strip():
            pending.append(line)
        else:
            end_unit(is_code=False)
    if closing:
        pending.append(closing)
    end_unit(is_code=bool(closing))
    return heading, units


def _choose_stretch(units: Sequence[_Unit], asked: set[str]) -> Sequence[_Unit]:
    """Return the contiguous units that hold most of the question's words for their length.

    A stretch never begins with code whose introduction it leaves out, nor ends with a line that leads on to more.
    """
    units = units[:_MAX_UNITS]
    held = [content_stems(unit.text) & asked for unit in units]
    best: tuple[float, int, int] = (float("-inf"), 0, len(units))
    for start in range(len(units)):
        if start and (units[start - 1].leads_on or units[start].is_code):
            continue
        found: set[str] = set()
        size, has_code = 0, False
        for end in range(start + 1, len(units) + 1):
            unit = units[end - 1]
            found |= held[end - 1]
            size += len(unit.text)
            has_code = has_code or unit.is_code
            if unit.leads_on and (end < len(units) or end > start + 1):
                continue
            cost = max(size, _MIN_QUOTE_CHARACTERS) / 100 * _LENGTH_COST_PER_100
            worth = len(found) / max(1, len(asked)) + _CODE_BONUS * has_code - cost
            best = max(best, (worth, -start, end))
    return units[-best[1] : best[2]]
