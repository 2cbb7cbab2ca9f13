"""The circuit breaker: when calls to a transport are let through, as a table of states and events.

Lives here: the breaker that runs the table of ``circuit_table``, and its run-time face ``CircuitMetrics``.
Not here: the call itself, waiting, logging. The shell asks ``can_execute``, makes the call, records its
result, and feeds ``take_events()`` to logs, metrics and hooks. An open breaker drops nothing: work waits in
the queue until ``retry_after_s()`` has passed.

One breaker guards one transport. It belongs to one event loop and takes no locks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..exceptions import ConfigurationError
from .circuit_table import TABLE, BreakerEvent, CircuitState, Effect

__all__ = ["BreakerChanged", "CircuitBreaker", "CircuitMetrics", "CircuitState"]

GROWTH: Final = 2.0
"""Each opening in a row may last this many times as long as the one before."""
MAX_GROWTH: Final = 10.0
"""No opening lasts longer than this many recovery timeouts."""
EVENTS_KEPT: Final = 256
"""Events that wait for ``take_events``; beyond it the oldest go, counted as ``events_lost_count``."""

MAX_FAILURE_THRESHOLD: Final = 1_000_000
MAX_RECOVERY_TIMEOUT_S: Final = 86_400.0
MAX_HALF_OPEN_CALLS: Final = 1_000

_CLOSED: Final = CircuitState.CLOSED
_AUDITED: Final = frozenset({BreakerEvent.FORCED_OPEN, BreakerEvent.FORCED_CLOSED})
_ASSIGNED: Final = {
    CircuitState.CLOSED: BreakerEvent.ASSIGNED_CLOSED,
    CircuitState.OPEN: BreakerEvent.ASSIGNED_OPEN,
    CircuitState.HALF_OPEN: BreakerEvent.ASSIGNED_HALF_OPEN,
}


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The breaker changed its state, or an operator forced one (then ``before`` may equal ``after``).

    ``at`` is in monotonic seconds; ``cause`` is a phrase for a log line, such as "5 failures in a row".
    """

    before: CircuitState
    after: CircuitState
    cause: str
    at: float


def _checked_count(name: str, value: object, low: int, high: int, mend: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        text = f"{name} is {value!r}; it must be a whole number from {low} to {high:,}. {mend}"
        raise ConfigurationError(text, path=f"circuit_breaker.{name}")
    return value


def _checked_seconds(name: str, value: object, low: float, high: float, mend: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        text = f"{name} is {value!r}; it must be a number of seconds from {low:g} to {high:,.0f}. {mend}"
        raise ConfigurationError(text, path=f"circuit_breaker.{name}")
    return float(value)


def _checked_threshold(value: object) -> int:
    mend = "To let every call through whatever fails, give a large number."
    return _checked_count("failure_threshold", value, 1, MAX_FAILURE_THRESHOLD, mend)


def _checked_timeout(value: object) -> float:
    mend = "To hold the breaker open for longer, call force_open()."
    return _checked_seconds("recovery_timeout", value, 0.0, MAX_RECOVERY_TIMEOUT_S, mend)


def _checked_calls(value: object) -> int:
    mend = "Give the number of trial calls that must succeed before the breaker closes."
    return _checked_count("half_open_max_calls", value, 1, MAX_HALF_OPEN_CALLS, mend)


class CircuitMetrics:
    """The breaker's knobs and counts as attributes; each assignment is checked and takes effect at once.

    Knobs: ``failure_threshold`` (failures in a row that open), ``recovery_timeout`` (seconds) and
    ``half_open_max_calls`` (trial calls). The documented reset is::

        metrics.state = CircuitState.CLOSED
        metrics.failure_count = 0

    An assignment may move the breaker: a ``failure_threshold`` at or below the present ``failure_count``
    opens a closed one, a smaller ``recovery_timeout`` shortens the present open time.

    Raises:
        ConfigurationError: the assigned value is out of range; the breaker is unchanged.
    """

    __slots__ = ("_breaker",)

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker

    @property
    def failure_threshold(self) -> int:
        """Failures in a row that open the breaker: 1 to 1,000,000."""
        return self._breaker._failure_threshold

    @failure_threshold.setter
    def failure_threshold(self, value: int) -> None:
        self._breaker._failure_threshold = _checked_threshold(value)
        self._breaker._settle(f"failure_threshold was set to {value}", self._breaker._monotonic())

    @property
    def recovery_timeout(self) -> float:
        """Seconds a first opening lasts: 0 to 86,400."""
        return self._breaker._recovery_timeout

    @recovery_timeout.setter
    def recovery_timeout(self, value: float) -> None:
        self._breaker._recovery_timeout = _checked_timeout(value)

    @property
    def half_open_max_calls(self) -> int:
        """Trial calls that half-open admits, and that must succeed to close: 1 to 1,000."""
        return self._breaker._half_open_max_calls

    @half_open_max_calls.setter
    def half_open_max_calls(self, value: int) -> None:
        self._breaker._half_open_max_calls = _checked_calls(value)
        self._breaker._settle(f"half_open_max_calls was set to {value}", self._breaker._monotonic())

    @property
    def state(self) -> CircuitState:
        """Where the breaker stands. Assigning ends a hold; OPEN opens for exactly ``recovery_timeout``."""
        return self._breaker._state

    @state.setter
    def state(self, value: CircuitState) -> None:
        if not isinstance(value, CircuitState):
            known = ", ".join(f"CircuitState.{state.name}" for state in CircuitState)
            text = f"state is {value!r}; it must be one of {known}."
            raise ConfigurationError(text, path="circuit_breaker.state")
        self._breaker._fire(_ASSIGNED[value], "the state was assigned", self._breaker._monotonic())

    @property
    def failure_count(self) -> int:
        """Failures in a row, without a success between them."""
        return self._breaker._failure_count

    @failure_count.setter
    def failure_count(self, value: int) -> None:
        mend = "Assign 0 to forget past failures."
        self._breaker._failure_count = _checked_count("failure_count", value, 0, MAX_FAILURE_THRESHOLD, mend)
        self._breaker._settle(f"failure_count was set to {value}", self._breaker._monotonic())

    def __repr__(self) -> str:
        return (
            f"CircuitMetrics(state={self.state}, failure_count={self.failure_count}, "
            f"failure_threshold={self.failure_threshold}, recovery_timeout={self.recovery_timeout}, "
            f"half_open_max_calls={self.half_open_max_calls})"
        )


class CircuitBreaker:
    """Lets calls through, or not, by the results of the calls before.

    Each call asks ``can_execute()`` first and then settles exactly once: ``record_success()``,
    ``record_failure()``, or ``release()`` when it was cancelled. Reading ``state`` changes nothing: an open
    breaker whose time is over reads OPEN (with ``retry_after_s() == 0``) until the next ``can_execute()``.

    Law B1: a closed breaker has fewer failures in a row than ``failure_threshold``, also after a live edit.
    Law B2: while open nothing is admitted before ``retry_after_s()`` has passed; then a trial is.
    Law B3: in half-open, permits out and trials passed are together at most ``half_open_max_calls`` (while
        that is not lowered), and the breaker closes exactly when as many trials have passed.
    Law B4: a permit that is neither settled nor released comes back after ``permit_timeout_s``.
    Law B5: a first opening lasts exactly ``recovery_timeout``; the n-th in a row lasts from 1 to
        ``min(2 ** (n - 1), 10)`` times that, spread by jitter.
    Law B6: every change of state is one event, in order; events link up (``after`` is the next ``before``).
    Law B7: a late result (any result while open) changes neither state, failure count nor open time.

    Args:
        failure_threshold: failures in a row that open.
        recovery_timeout: seconds a first opening lasts.
        half_open_max_calls: trial calls half-open admits.
        permit_timeout_s: seconds after which a trial's permit counts as lost and comes back.
        monotonic: monotonic clock, seconds.
        random: uniform draw from [0, 1), for the jitter of repeated openings.

    Raises:
        ConfigurationError: a value is out of range.
    """

    __slots__ = (
        "_events",
        "_events_lost_count",
        "_failure_count",
        "_failure_threshold",
        "_growth",
        "_half_open_max_calls",
        "_is_held",
        "_late_result_count",
        "_leases",
        "_monotonic",
        "_opened_at",
        "_opened_count",
        "_openings_in_row",
        "_permit_timeout_s",
        "_permits_lost_count",
        "_random",
        "_recovery_timeout",
        "_state",
        "_trials_passed",
        "metrics",
        "on_change",
    )

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        half_open_max_calls: int = 3,
        permit_timeout_s: float = 30.0,
        *,
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._failure_threshold = _checked_threshold(failure_threshold)
        self._recovery_timeout = _checked_timeout(recovery_timeout)
        self._half_open_max_calls = _checked_calls(half_open_max_calls)
        mend = "Give a little more than the transport's own timeout."
        self._permit_timeout_s = _checked_seconds(
            "permit_timeout_s", permit_timeout_s, 0.001, MAX_RECOVERY_TIMEOUT_S, mend
        )
        self._monotonic = monotonic
        self._random = random
        self._state = CircuitState.CLOSED
        self._failure_count = 0
        self._opened_at = 0.0  # meaningful while open
        self._growth = 1.0  # open time of the present opening, in recovery timeouts
        self._is_held = False
        self._openings_in_row = 0
        self._trials_passed = 0
        self._leases: deque[float] = deque()  # when each permit that is out counts as lost; ascending
        self._opened_count = 0
        self._late_result_count = 0
        self._permits_lost_count = 0
        self._events: deque[BreakerChanged] = deque(maxlen=EVENTS_KEPT)
        self._events_lost_count = 0
        self.metrics: Final = CircuitMetrics(self)
        # Called after each change of state, in the thread that caused it; `take_events` then has it.
        self.on_change: Callable[[], None] | None = None

    # -- what a caller asks and tells

    @property
    def state(self) -> CircuitState:
        """Where the breaker stands; reading changes nothing."""
        return self._state

    @property
    def failure_count(self) -> int:
        """Failures in a row, without a success between them."""
        return self._failure_count

    def can_execute(self) -> bool:
        """Whether a call may be made now; in half-open a True takes one permit."""
        # The closed case is the hot path: it reads no clock.
        return self._state is _CLOSED or self._admit()

    def record_success(self) -> None:
        """Tell that a call which was let through succeeded."""
        if self._state is _CLOSED and not self._failure_count:
            return  # the same as the table's FORGET_FAILURES, at the price of a comparison
        now = self._monotonic()
        self._fire(BreakerEvent.SUCCESS, "", now)
        self._settle(f"{self._trials_passed} trial calls succeeded", now)

    def record_failure(self) -> None:
        """Tell that a call which was let through failed (the transport's failure, never a client's)."""
        now = self._monotonic()
        self._fire(BreakerEvent.FAILURE, "a trial call failed", now)
        self._settle(f"{self._failure_count} failures in a row", now)

    def release(self) -> None:
        """Tell that a call which was let through was cancelled: counts as nothing, its permit comes back."""
        self._fire(BreakerEvent.RELEASED, "", self._monotonic())

    def retry_after_s(self) -> float:
        """Seconds until ``can_execute()`` is worth asking: 0 when closed, infinite when held open.

        In half-open with all permits out: until the first of them counts as lost. A result may come sooner.
        """
        if self._state is CircuitState.OPEN:
            return max(0.0, self._open_until() - self._monotonic())
        if len(self._leases) + self._trials_passed < self._half_open_max_calls:
            return 0.0  # also when closed: no permit is out then
        return max(0.0, self._leases[0] - self._monotonic())

    # -- what an operator orders

    def force_open(self, reason: str = "") -> None:
        """Let nothing through until ``force_close()`` or an assignment of ``metrics.state``."""
        self._fire(BreakerEvent.FORCED_OPEN, _with_reason("forced open", reason), self._monotonic())

    def force_close(self, reason: str = "") -> None:
        """Close now and forget all failures, whatever the state."""
        self._fire(BreakerEvent.FORCED_CLOSED, _with_reason("forced closed", reason), self._monotonic())

    # -- what there is to see

    def get_state(self) -> dict[str, str | int | float | bool | None]:
        """Everything about the breaker as a plain dict that JSON can hold.

        ``retry_after_s`` is None while the breaker is held open (there is no time to tell).
        """
        retry_after_s = self.retry_after_s()
        return {
            "state": self._state.value,
            "failure_count": self._failure_count,
            "failure_threshold": self._failure_threshold,
            "recovery_timeout": self._recovery_timeout,
            "half_open_max_calls": self._half_open_max_calls,
            "retry_after_s": retry_after_s if math.isfinite(retry_after_s) else None,
            "is_held_open": self._is_held,
            "trials_in_flight": len(self._leases),
            "trials_passed": self._trials_passed,
            "opened_count": self._opened_count,
            "openings_in_row": self._openings_in_row,
            "late_result_count": self._late_result_count,
            "permits_lost_count": self._permits_lost_count,
            "events_lost_count": self._events_lost_count,
        }

    def take_events(self) -> list[BreakerChanged]:
        """The changes since the last call, oldest first; taking clears them."""
        events = list(self._events)
        self._events.clear()
        return events

    # -- how the table is run

    def _fire(self, event: BreakerEvent, cause: str, now: float) -> None:
        before = self._state
        transition = TABLE[before, event]
        self._apply(transition.effect, now)
        self._state = transition.after
        if before is not transition.after or event in _AUDITED:
            if len(self._events) == EVENTS_KEPT:
                self._events_lost_count += 1
            self._events.append(BreakerChanged(before, transition.after, cause, now))
            if self.on_change is not None:
                self.on_change()

    def _settle(self, cause: str, now: float) -> None:
        """Fire what the counts demand after a result or a live edit."""
        if self._state is _CLOSED and self._failure_count >= self._failure_threshold:
            self._fire(BreakerEvent.THRESHOLD_REACHED, cause, now)
        elif self._state is CircuitState.HALF_OPEN and self._trials_passed >= self._half_open_max_calls:
            self._fire(BreakerEvent.TRIALS_PASSED, cause, now)

    def _apply(self, effect: Effect, now: float) -> None:
        if effect is Effect.COUNT_FAILURE:
            self._failure_count += 1
        elif effect is Effect.FORGET_FAILURES:
            self._failure_count = 0
        elif effect is Effect.COUNT_LATE:
            self._late_result_count += 1
        elif effect is Effect.COUNT_TRIAL:
            self._failure_count = 0
            self._trials_passed += 1
            self._give_back()
        elif effect is Effect.GIVE_BACK:
            self._give_back()
        elif effect is Effect.OPEN_EXACTLY:
            self._open(1, now, is_held=False)
        elif effect is Effect.OPEN_LONGER:
            self._failure_count += 1
            self._open(self._openings_in_row + 1, now, is_held=False)
        elif effect is Effect.HOLD_OPEN:
            self._open(1, now, is_held=True)
        elif effect is Effect.START_TRIALS:
            self._start_trials()
        elif effect is Effect.CLOSE:
            self._start_trials()
            self._failure_count = 0
            self._openings_in_row = 0

    def _open(self, openings_in_row: int, now: float, *, is_held: bool) -> None:
        self._start_trials()
        self._is_held = is_held
        self._openings_in_row = openings_in_row
        self._opened_at = now
        self._opened_count += 1
        # Exponent bounded before the power: 2.0 ** 1024 overflows.
        ceiling = min(GROWTH ** min(openings_in_row - 1, 8), MAX_GROWTH)
        # Jitter over the whole added time, so that many nodes do not try again together; never below one
        # recovery timeout, so that the setting stays a promise to the transport.
        self._growth = 1.0 if ceiling == 1.0 else 1.0 + (ceiling - 1.0) * self._random()

    def _open_until(self) -> float:
        return math.inf if self._is_held else self._opened_at + self._recovery_timeout * self._growth

    def _start_trials(self) -> None:
        self._is_held = False
        self._trials_passed = 0
        self._leases.clear()

    def _give_back(self) -> None:
        if self._leases:  # empty when the permit was lost before, or the call began before the opening
            self._leases.popleft()

    def _collect_lost_permits(self, now: float) -> None:
        while self._leases and self._leases[0] <= now:
            self._leases.popleft()
            self._permits_lost_count += 1

    def _admit(self) -> bool:
        now = self._monotonic()
        if self._state is CircuitState.OPEN:
            if now < self._open_until():
                return False
            self._fire(BreakerEvent.RECOVERY_DUE, "the recovery timeout has passed", now)
        self._collect_lost_permits(now)
        if len(self._leases) + self._trials_passed >= self._half_open_max_calls:
            return False
        self._leases.append(now + self._permit_timeout_s)
        return True


def _with_reason(what: str, reason: str) -> str:
    return f"{what}: {reason[:200]}" if reason else what
