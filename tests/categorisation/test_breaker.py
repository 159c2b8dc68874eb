"""When failures are the threads' fault, and when the classifier's."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from categorisation.services.breaker import (
    FAILING_THREADS,
    FORGIVING_OPENINGS,
    REMEMBERED_THREADS,
    BreakerState,
    Observation,
    Verdict,
    judge,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 60))
CLOSED = BreakerState()


def fail(*threads: uuid.UUID, again: int = 0, successes: int = 0) -> Observation:
    return Observation(successes=successes, failures=len(threads) + again, first_failures=threads)


def threads(count: int) -> tuple[uuid.UUID, ...]:
    return tuple(uuid.uuid4() for _ in range(count))


def see(state: BreakerState, *seen: Observation, now: datetime = NOW) -> Verdict:
    verdict = Verdict(state)
    for observation in seen:
        verdict = judge(verdict.state, observation, now, PAUSES)
    return verdict


def test_failures_of_many_threads_open_it_and_every_attempt_is_given_back():
    first, last = threads(3), threads(2)
    assert see(CLOSED, fail(*first)).failures_count
    verdict = see(CLOSED, fail(*first), fail(*last))
    assert verdict == Verdict(
        BreakerState(openings=1, open_until=NOW + PAUSES[0]), failures_count=False, forgiven=first
    )


def test_one_thread_that_fails_again_and_again_does_not_open_it():
    (poison,) = threads(1)
    verdict = see(CLOSED, fail(poison), *[fail(again=1)] * 20)
    assert verdict.state.is_closed
    assert verdict.failures_count


def test_poison_among_many_more_successes_does_not_open_it():
    for _ in range(100):
        assert see(CLOSED, *[fail(*threads(1), successes=9)] * 20).state.is_closed


def test_poison_that_is_all_that_is_left_does_not_open_it():
    assert see(CLOSED, fail(*threads(10), successes=1_000), *[fail(again=10)] * 4).state.is_closed


def test_an_outage_opens_it_soon_whatever_went_well_before():
    poison = [fail(*threads(1), successes=50)] * 10
    verdict = see(CLOSED, *poison, fail(*threads(25)))
    assert not verdict.state.is_closed


def test_a_classifier_that_says_it_is_unavailable_opens_it_and_its_own_pause_is_heeded():
    verdict = see(CLOSED, Observation(unavailable_for=timedelta(seconds=42)))
    assert verdict.state.open_until == NOW + timedelta(seconds=42)
    assert see(CLOSED, Observation(unavailable_for=timedelta(seconds=1))).state.open_until == NOW + PAUSES[0]


def test_one_refusal_among_successes_does_not_open_it():
    assert see(CLOSED, Observation(successes=1, unavailable_for=timedelta(seconds=5))).state.is_closed


def test_each_probe_that_fails_makes_the_pause_longer():
    state, now, pauses = see(CLOSED, fail(*threads(5))).state, NOW, []
    for _ in range(4):
        now = state.open_until
        verdict = judge(state, fail(*threads(1), again=1), now, PAUSES)
        assert not verdict.failures_count
        state = verdict.state
        pauses.append(state.open_until - now)
    assert pauses == [PAUSES[1], PAUSES[2], PAUSES[2], PAUSES[2]]


def test_after_a_day_of_failing_probes_they_count_lest_poison_alone_is_never_given_up():
    state, now, counted = see(CLOSED, fail(*threads(5))).state, NOW, []
    for _ in range(FORGIVING_OPENINGS + 20):
        now = state.open_until
        verdict = judge(state, fail(again=1), now, PAUSES)
        counted.append(verdict.failures_count)
        state = verdict.state
    assert counted == [False] * (FORGIVING_OPENINGS - 1) + [True] * 21


def test_what_was_under_way_when_it_opened_makes_no_pause_longer_and_counts_nothing():
    opened = see(CLOSED, fail(*threads(5))).state
    assert see(opened, fail(*threads(90))) == Verdict(opened, failures_count=False)


def test_any_success_closes_it():
    opened = see(CLOSED, fail(*threads(5))).state
    assert see(opened, Observation(successes=1)).state == CLOSED


observations = st.builds(
    lambda successes, first, again, unavailable: Observation(
        successes, first + again, threads(first), timedelta(seconds=unavailable) if unavailable else None
    ),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 5),
    st.integers(0, 5),
)


@given(st.lists(observations, max_size=40))
def test_it_remembers_little_and_is_open_exactly_with_an_end(seen: list[Observation]):
    state, now = CLOSED, NOW
    for observation in seen:
        now += timedelta(seconds=5)
        verdict = judge(state, observation, now, PAUSES)
        assert verdict.state.is_closed == (verdict.state.open_until is None)
        assert len(verdict.state.failing) <= REMEMBERED_THREADS
        assert set(verdict.forgiven) <= set(state.failing)
        if state.is_closed and not verdict.state.is_closed and observation.unavailable_for is None:
            assert len({*state.failing, *observation.first_failures}) >= FAILING_THREADS
        state = verdict.state
