"""Claimed threads that wait for a lane: projects take turns, each within its own bound. No clock and no database."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from categorisation.services.streams import Stream, Work


class WaitingRoom:
    """What is claimed and not handed out yet, and how many calls of each project are under way."""

    def __init__(self) -> None:
        self._lines: dict[UUID, deque[Work]] = {}  # in the order of their turns
        self._size = 0
        self.calls: Counter[UUID] = Counter()

    def __len__(self) -> int:
        return self._size

    def add(self, works: Iterable[Work]) -> None:
        for work in works:
            self._lines.setdefault(work.stream.project_id, deque()).append(work)
            self._size += 1

    def take_call(self, questions: int) -> list[Work]:
        """The next project's first threads, of one stream, at most so many; none when no project may have a call."""
        for project_id in list(self._lines):
            line = self._lines[project_id]
            stream = line[0].stream
            if stream.max_lanes is not None and self.calls[project_id] >= stream.max_lanes:
                continue
            call = _take_alike(line, stream, questions)
            del self._lines[project_id]
            if line:
                self._lines[project_id] = line  # behind the others
            self._size -= len(call)
            self.calls[project_id] += 1
            return call
        return []

    def end_call(self, project_id: UUID) -> None:
        self.calls[project_id] -= 1

    def count_by_project(self) -> Counter[UUID]:
        return Counter({project_id: len(line) for project_id, line in self._lines.items()})

    def clear(self) -> list[Work]:
        """Everything that waits; nothing does afterwards."""
        works = [work for line in self._lines.values() for work in line]
        self._lines.clear()
        self._size = 0
        return works


def share_out(room: int, bounds: Mapping[UUID, int | None], turn: int) -> list[tuple[UUID, int]]:
    """How many threads of which project to claim, in this order, when there is room for so many.

    Projects get alike, as far as their bounds (how many more each may have, None: any number) let them; what one
    cannot take goes to those after it. `turn` moves on who comes first.
    """
    projects = list(bounds)
    first = turn % len(projects) if projects else 0
    shares = []
    for position, project_id in enumerate(ordered := projects[first:] + projects[:first]):
        bound = bounds[project_id]
        share = -(-room // (len(ordered) - position))
        share = share if bound is None else max(0, min(share, bound))
        if share > 0:
            shares.append((project_id, share))
            room -= share
    return shares


def _take_alike(line: deque[Work], stream: Stream, limit: int) -> list[Work]:
    taken: list[Work] = []
    while line and line[0].stream is stream and len(taken) < limit:
        taken.append(line.popleft())
    return taken


def questions_of(works: Sequence[Work]) -> list[str]:
    return [work.claim.question for work in works]
