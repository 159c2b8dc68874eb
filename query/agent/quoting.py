"""Answers without a model: the best passage, quoted as it stands and named as a quotation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from query.agent import followups
from query.agent.markup import escape_citations
from query.agent.protocols import REFUSAL_MARKER, Exchange, Prompt, Source
from query.agent.ranking import Candidate, rank_sections
from query.agent.stretches import Unit, choose_stretch, parse_units
from query.agent.words import content_stems

# Another section is quoted when it fits nearly as well: which of them answers, a reader sees better than a formula.
_MAX_QUOTES = 3
_QUOTE_MARGIN = 0.2
# What is read at a sitting. Sections that fit equally well share it.
_MAX_CHARACTERS = 2_400
_BEST_SHARE = 0.6
_SEE_ALSO = 2
_SEE_ALSO_MARGIN = 0.3

_MARKDOWN_SPECIALS = re.compile(r"([\\`*_\[\]<])")


class QuotingLLM:
    """Quotes a contiguous stretch of the section that fits the question best, with its code, and cites it; and of the
    next best ones when those fit nearly as well.
    """

    def generate(self, prompt: Prompt) -> str:
        """Return one to three quotations with their citations, and up to two other sources to see."""
        ranked = rank_sections(prompt.question, prompt.sources)
        if not ranked:
            return REFUSAL_MARKER
        asked = content_stems(prompt.question)
        quoted = [found for found in ranked[:_MAX_QUOTES] if found.rank >= ranked[0].rank - _QUOTE_MARGIN]
        quotations: list[str] = []
        room = _MAX_CHARACTERS
        for position, candidate in enumerate(quoted):
            heading, units = parse_units(candidate.passage.content)
            left = len(quoted) - position
            share = room * _BEST_SHARE if position == 0 and left > 1 else room / left
            stretch = choose_stretch(heading, units, asked, int(share))
            room = max(0, room - sum(len(unit.text) for unit in stretch))
            quotations.append(_quote(candidate.source, heading, stretch))
        return "\n\n".join(quotations) + _refer_to_others(ranked, quoted)

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        return followups.make_self_contained(question, history)


def _quote(source: Source, heading: str, stretch: Sequence[Unit]) -> str:
    place = f", “{_escape(heading)}”" if heading else ""
    return f"From {_name(source)}{place}:\n\n{_show(stretch)}"


def _refer_to_others(ranked: Sequence[Candidate], quoted: Sequence[Candidate]) -> str:
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


def _show(units: Sequence[Unit]) -> str:
    """Prose as one blockquote for each run of paragraphs, code as the fences that it stands in."""
    shown: list[str] = []
    for position, unit in enumerate(units):
        text = unit.text
        if not unit.is_code:
            text = "\n".join(f"> {line}".rstrip() for line in escape_citations(text).split("\n"))
        follows_prose = position > 0 and not unit.is_code and not units[position - 1].is_code
        shown.append((f"\n>\n{text}" if follows_prose else f"\n\n{text}") if shown else text)
    return "".join(shown)
