"""The stretch of a section that is worth reading for a question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from query.agent.markup import read_heading
from query.agent.ranking import read_own_heading
from query.agent.words import content_stems

_CODE_BONUS = 0.08
# A section says first what it is about; what comes later must hold more of the question.
_START_BONUS = 0.25
_MAX_UNITS = 80

_FENCE = re.compile(r"(`{3,}|~{3,})")
_SUBHEADING = re.compile(r"\*\*[^*\n]+\*\*$")


@dataclass(frozen=True, slots=True)
class Unit:
    """A paragraph, a list, a subheading or a block of code of a section."""

    text: str
    is_code: bool

    @property
    def leads_on(self) -> bool:
        """Whether what comes next belongs to it: it announces code, or is a heading."""
        text = self.text.strip()
        return not self.is_code and (text.endswith(":") or _SUBHEADING.fullmatch(text) is not None)


def parse_units(content: str) -> tuple[str, list[Unit]]:
    """Return a passage's heading (empty when it has none) and its units."""
    lines = content.strip("\n").split("\n")
    heading = read_heading(lines[0])
    units: list[Unit] = []
    pending: list[str] = []
    closing = ""

    def end_unit(*, is_code: bool) -> None:
        if any(line.strip() for line in pending):
            units.append(Unit("\n".join(pending), is_code))
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


def choose_stretch(heading: str, units: Sequence[Unit], asked: AbstractSet[str], room: int) -> Sequence[Unit]:
    """Return the contiguous units, of `room` characters unless the first ones have more, that answer best.

    Worth is the share of the question's words that the section's own heading leaves open and that the stretch holds,
    with a bonus for code and for the section's beginning. A stretch begins with the
    section or with one of those words, never with code whose introduction it leaves out, and does not end with a line
    that leads on to more. Of those worth the same, the one is taken that comes to the point last and reads on farthest.
    """
    units = units[:_MAX_UNITS]
    open_words = asked - content_stems(read_own_heading(heading))
    held = [content_stems(unit.text) & open_words for unit in units]
    best: tuple[float, int, int] | None = None
    for start in range(len(units)):
        if start and (units[start - 1].leads_on or units[start].is_code or not held[start]):
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
            if size > room and best is not None:
                break
            worth = len(found) / max(1, len(asked)) + _CODE_BONUS * has_code + _START_BONUS * (start == 0)
            candidate = (round(worth, 6), start, end)
            best = candidate if best is None else max(best, candidate)
    return units if best is None else units[best[1] : best[2]]
