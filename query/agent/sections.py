"""Sections put together again from the passages that a splitter made of them.

A search finds the piece of a section that resembles the question most, and the answer often stands in the next one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from query.agent.markup import read_heading
from query.agent.protocols import Passage

_NUMBER = re.compile(r"-(\d{1,9})$")
# What a model or a reader can take in; a document without headings is one long section.
_MAX_SECTION_CHARACTERS = 4_000


def join_sections(found: Sequence[Passage], further: Sequence[Passage] = ()) -> tuple[Passage, ...]:
    """Return the sections that `found` belongs to, in its order, as one passage each.

    Passages of one document that follow one another under the same heading become one, in reading order; those of
    `further` only lengthen what was found. The whole has the best score and cosine of its parts.
    """
    by_place = {place: passage for passage in (*further, *found) if (place := _locate(passage)) is not None}
    joined: list[Passage] = []
    taken: set[str] = set()
    for passage in found:
        if passage.chunk_id in taken:
            continue
        parts = _gather_neighbours(passage, by_place, taken)
        taken.update(part.chunk_id for part in parts)
        joined.append(_join(passage, parts))
    return tuple(joined)


def _locate(passage: Passage) -> tuple[str, int] | None:
    number = _NUMBER.search(passage.chunk_id)
    return (passage.document_id, int(number[1])) if number else None


def _gather_neighbours(passage: Passage, by_place: dict[tuple[str, int], Passage], taken: set[str]) -> list[Passage]:
    """Return `passage` between those that go on from it on either side, as far as there is room."""
    parts = [passage]
    place = _locate(passage)
    if place is None:
        return parts
    heading = read_heading(passage.content)
    size = len(passage.content)
    for step in (-1, 1):
        number = place[1] + step
        while (near := by_place.get((place[0], number))) is not None and near.chunk_id not in taken:
            size += len(near.content)
            if read_heading(near.content) != heading or size > _MAX_SECTION_CHARACTERS:
                break
            parts.insert(0 if step < 0 else len(parts), near)
            number += step
    return parts


def _join(passage: Passage, parts: Sequence[Passage]) -> Passage:
    if len(parts) == 1:
        return passage
    has_heading = bool(read_heading(passage.content))
    texts = [part.content.partition("\n")[2].strip("\n") if has_heading else part.content for part in parts]
    heading = passage.content.partition("\n")[0] + "\n\n" if has_heading else ""
    return replace(
        passage,
        content=heading + "\n\n".join(texts),
        score=max(part.score for part in parts),
        cosine=max(part.cosine for part in parts),
    )
