"""The breaker: whether failures are the threads' fault or the classifier's. Pure decisions, no clock and no database.

A thread that fails is counted an attempt and paused. But when many different threads fail, one after another, it is
the classifier that is ill: the breaker opens, gives their attempts back and pauses all claiming for longer each time.
When a pause is over, a few threads are tried as probes; any success closes the breaker. (The pattern is M. Nygard's,
Release It!, 2nd ed., section 5.2.)

Only a thread's first failure speaks against the classifier. One that failed before, while others succeeded, is a
suspect itself, and must not keep the breaker open when it and its like are all that is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

FAILING_THREADS = 5  # so many at least, and at least as many as there were successes since the first of them
PROBES = 5
# Failures among many more successes are poison. Forgetting them keeps the breaker ready for the day of an outage.
FORGOTTEN_AFTER_SUCCESSES = 20
FORGOTTEN_AT_SUCCESSES_PER_FAILURE = 4
REMEMBERED_THREADS = 200
# About a day of failing probes. Then they are held against the threads after all: whether a classifier is down, or all
# that is left is poison, cannot be told apart, and poison must be given up in the end.
FORGIVING_OPENINGS = 1_440


@dataclass(frozen=True, slots=True)
class BreakerState:
    """`failing` are different threads that failed for the first time; `successes` came since the first of them."""

    failing: tuple[UUID, ...] = ()
    successes: int = 0
    openings: int = 0
    open_until: datetime | None = None

    @property
    def is_closed(self) -> bool:
        return self.openings == 0

    def is_open(self, now: datetime) -> bool:
        """Whether nothing may be claimed. Neither open nor closed: probes only."""
        return self.open_until is not None and now < self.open_until


@dataclass(frozen=True, slots=True)
class Observation:
    """What a flush saw of a classifier: how many failed, and what names those that never had before; successes; the
    pause that it asked for when it was not available."""

    successes: int = 0
    failures: int = 0
    first_failures: tuple[UUID, ...] = ()
    unavailable_for: timedelta | None = None

    @property
    def says_nothing(self) -> bool:
        return not self.successes and self.says_nothing_bad

    @property
    def says_nothing_bad(self) -> bool:
        return not self.failures and self.unavailable_for is None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The new state; whether this observation's failures count as attempts; threads that get an earlier one back."""

    state: BreakerState
    failures_count: bool = True
    forgiven: tuple[UUID, ...] = ()


def judge(state: BreakerState, seen: Observation, now: datetime, pauses: Sequence[timedelta]) -> Verdict:
    """What follows from an observation. `pauses`: after the first opening, the second and so on."""
    if seen.says_nothing:
        return Verdict(state)
    if state.is_closed:
        return _judge_closed(state, seen, now, pauses)
    if seen.successes:
        return Verdict(_remember(BreakerState(), seen))
    if state.is_open(now):  # what was under way when it opened
        return Verdict(state, failures_count=False)
    return Verdict(_open(state, seen, now, pauses), failures_count=state.openings >= FORGIVING_OPENINGS)


def _judge_closed(state: BreakerState, seen: Observation, now: datetime, pauses: Sequence[timedelta]) -> Verdict:
    after = _remember(state, seen)
    is_failing = len(after.failing) >= FAILING_THREADS and len(after.failing) >= after.successes
    is_unavailable = seen.unavailable_for is not None and not seen.successes
    if is_failing or is_unavailable:
        forgiven = state.failing if is_failing else ()
        return Verdict(_open(after, seen, now, pauses), failures_count=not is_failing, forgiven=forgiven)
    is_poison = after.successes >= max(
        FORGOTTEN_AFTER_SUCCESSES, FORGOTTEN_AT_SUCCESSES_PER_FAILURE * len(after.failing)
    )
    return Verdict(BreakerState() if is_poison or len(after.failing) > REMEMBERED_THREADS else after)


def _remember(state: BreakerState, seen: Observation) -> BreakerState:
    failing = tuple(dict.fromkeys((*state.failing, *seen.first_failures)))
    return replace(state, failing=failing, successes=state.successes + seen.successes if failing else 0)


def _open(state: BreakerState, seen: Observation, now: datetime, pauses: Sequence[timedelta]) -> BreakerState:
    pause = max(pauses[min(state.openings, len(pauses) - 1)], seen.unavailable_for or timedelta(0))
    return BreakerState(openings=min(state.openings, FORGIVING_OPENINGS) + 1, open_until=now + pause)
