"""What a circuit breaker does on which event, as one table: state x event -> state, effect.

Lives here: values only. ``circuit_breaker`` runs the table, a test enumerates it, the docs are drawn from it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


class CircuitState(enum.Enum):
    """Where a breaker stands; the values are what metrics and the admin socket show."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerEvent(enum.Enum):
    """What can happen to a breaker."""

    SUCCESS = "a call succeeded"
    FAILURE = "a call failed"
    THRESHOLD_REACHED = "as many failures in a row as failure_threshold"
    RECOVERY_DUE = "the open time is over and someone asks to call"
    TRIALS_PASSED = "as many trial calls succeeded as half_open_max_calls"
    RELEASED = "a call was cancelled"
    FORCED_OPEN = "an operator holds the breaker open"
    FORCED_CLOSED = "an operator closes the breaker"
    ASSIGNED_CLOSED = "metrics.state = CLOSED"
    ASSIGNED_OPEN = "metrics.state = OPEN"
    ASSIGNED_HALF_OPEN = "metrics.state = HALF_OPEN"


class Effect(enum.Enum):
    """What a transition does beside changing the state."""

    NOTHING = "nothing"
    IMPOSSIBLE = "cannot happen; would change nothing"
    FORGET_FAILURES = "failure_count becomes 0"
    COUNT_FAILURE = "failure_count grows by one"
    COUNT_LATE = "a late result: counted apart, else without effect"
    COUNT_TRIAL = "one more trial passed, its permit comes back, failure_count becomes 0"
    GIVE_BACK = "one permit comes back, nothing is counted"
    OPEN_EXACTLY = "open for exactly recovery_timeout; a first opening"
    OPEN_LONGER = "count the failure; open with growth and jitter: one opening more in a row"
    HOLD_OPEN = "open until closed by force or assignment"
    START_TRIALS = "no permit is out, no trial has passed"
    CLOSE = "counts, permits and the row of openings start afresh"


@dataclass(frozen=True, slots=True)
class Transition:
    """One cell of the table: the state after the event, and the effect."""

    after: CircuitState
    effect: Effect


def _table() -> Mapping[tuple[CircuitState, BreakerEvent], Transition]:
    closed, opened, half = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
    on, does = BreakerEvent, Effect
    rows = {
        (closed, on.SUCCESS): (closed, does.FORGET_FAILURES),
        (closed, on.FAILURE): (closed, does.COUNT_FAILURE),
        (closed, on.THRESHOLD_REACHED): (opened, does.OPEN_EXACTLY),
        (closed, on.RECOVERY_DUE): (closed, does.IMPOSSIBLE),
        (closed, on.TRIALS_PASSED): (closed, does.IMPOSSIBLE),
        (closed, on.RELEASED): (closed, does.NOTHING),
        # Calls that began before the opening end now. They say nothing of the transport's state after
        # recovery_timeout, so they neither close the breaker nor make it stay open longer.
        (opened, on.SUCCESS): (opened, does.COUNT_LATE),
        (opened, on.FAILURE): (opened, does.COUNT_LATE),
        (opened, on.THRESHOLD_REACHED): (opened, does.IMPOSSIBLE),
        (opened, on.RECOVERY_DUE): (half, does.START_TRIALS),
        (opened, on.TRIALS_PASSED): (opened, does.IMPOSSIBLE),
        (opened, on.RELEASED): (opened, does.NOTHING),
        # A result carries no identity, so every result that arrives in half-open is taken for a trial's.
        (half, on.SUCCESS): (half, does.COUNT_TRIAL),
        (half, on.FAILURE): (opened, does.OPEN_LONGER),
        (half, on.THRESHOLD_REACHED): (half, does.IMPOSSIBLE),
        (half, on.RECOVERY_DUE): (half, does.IMPOSSIBLE),
        (half, on.TRIALS_PASSED): (closed, does.CLOSE),
        (half, on.RELEASED): (half, does.GIVE_BACK),
    }
    for state in CircuitState:  # what an operator orders means the same wherever the breaker stands
        rows[state, on.FORCED_OPEN] = (opened, does.HOLD_OPEN)
        rows[state, on.FORCED_CLOSED] = (closed, does.CLOSE)
        rows[state, on.ASSIGNED_CLOSED] = (closed, does.CLOSE)
        rows[state, on.ASSIGNED_OPEN] = (opened, does.OPEN_EXACTLY)
        rows[state, on.ASSIGNED_HALF_OPEN] = (half, does.START_TRIALS)
    return MappingProxyType({key: Transition(after, effect) for key, (after, effect) in rows.items()})


TABLE: Final[Mapping[tuple[CircuitState, BreakerEvent], Transition]] = _table()
"""Every state with every event. The breaker runs it, the tests enumerate it, the docs are drawn from it."""
