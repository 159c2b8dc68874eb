"""Turns of projects: what is claimed, and what is handed out. Nothing here needs a database."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from categorisation.selectors import TaxonomySnapshot
from categorisation.services.claims import Claim
from categorisation.services.streams import Stream, Work
from categorisation.services.waiting import WaitingRoom, share_out

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def stream_of(max_lanes: int | None = None, project_id: uuid.UUID | None = None) -> Stream:
    return Stream(project_id or uuid.uuid4(), TaxonomySnapshot(1, ()), max_lanes=max_lanes)


def works_of(stream: Stream, count: int) -> list[Work]:
    claims = (Claim(uuid.uuid4(), stream.project_id, f"question {number}", 0, NOW) for number in range(count))
    return [Work(stream, claim) for claim in claims]


def test_projects_take_turns_whatever_each_has_waiting():
    many, few = stream_of(), stream_of()
    room = WaitingRoom()
    room.add([*works_of(many, 10), *works_of(few, 3)])
    turns = [room.take_call(1)[0].stream for _ in range(13)]
    assert turns == [many, few] * 3 + [many] * 7
    assert room.take_call(1) == []


def test_a_call_is_of_one_stream_in_order():
    project_id = uuid.uuid4()
    first, second = stream_of(project_id=project_id), stream_of(project_id=project_id)
    room, works = WaitingRoom(), [*works_of(first, 3), *works_of(second, 2)]
    room.add(works)
    assert [room.take_call(2) for _ in range(3)] == [works[:2], works[2:3], works[3:]]


def test_a_projects_bound_is_kept_and_others_go_on():
    bounded, free = stream_of(max_lanes=1), stream_of()
    room = WaitingRoom()
    room.add([*works_of(bounded, 3), *works_of(free, 3)])
    taken = [room.take_call(1) for _ in range(5)]
    assert Counter(call[0].stream for call in taken if call) == {bounded: 1, free: 3}
    room.end_call(bounded.project_id)
    assert room.take_call(1)[0].stream is bounded


def test_what_waits_can_be_taken_back():
    room, works = WaitingRoom(), works_of(stream_of(), 5)
    room.add(works)
    call = room.take_call(2)
    assert call + room.clear() == works
    assert len(room) == 0


@given(
    st.integers(0, 500),
    st.lists(st.none() | st.integers(0, 50), max_size=20),
    st.integers(0, 100),
)
def test_shares_fill_the_room_as_far_as_bounds_let_them_and_differ_little(
    room: int, bounds: list[int | None], turn: int
):
    projects = {uuid.uuid4(): bound for bound in bounds}
    shares = share_out(room, projects, turn)
    given_out = dict(shares)
    assert len(given_out) == len(shares)
    assert sum(given_out.values()) <= room
    for project_id, share in shares:
        assert 0 < share <= (room if projects[project_id] is None else projects[project_id])
    unbounded = [given_out.get(project_id, 0) for project_id, bound in projects.items() if bound is None]
    if len(unbounded) == len(projects) and projects:
        assert sum(unbounded) == room
        assert max(unbounded) - min(unbounded) <= 1


def test_who_comes_first_changes_with_the_turn():
    projects = {uuid.uuid4(): None for _ in range(3)}
    firsts = [share_out(1, projects, turn)[0][0] for turn in range(3)]
    assert set(firsts) == set(projects)
