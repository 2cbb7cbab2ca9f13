"""A plugin's policies at the door: what they raise or answer wrongly costs no update, and the built-in takes over.

The built-in policies need no guard, so the hot path has none where no plugin put another in their place. While a
plugin's policy is in charge, a built-in one follows along: its answer is used where the plugin's is none, and it is
in charge once the plugin's is switched off.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..core.batching import AdaptiveBatching, BatchingPolicy
from ..core.circuit_breaker import CircuitBreaker
from ..core.messages import UpdatePriority
from ..core.ports import Breaker, RetryPolicy
from ..core.retry import MAX_DELAY_S, ExponentialBackoff
from .boundary import Boundary, discard

_T = TypeVar("_T")

#: No policy may make an update wait longer than this, in seconds.
LONGEST_WAIT_S = 60.0


class Guard:
    """Asks a policy through its boundary."""

    def __init__(self, boundary: Boundary) -> None:
        self.boundary = boundary

    def _ask(
        self, question: Callable[[], Any], check: Callable[[Any], _T], otherwise: Callable[[], _T]
    ) -> _T:
        boundary = self.boundary
        if boundary.is_off:
            return otherwise()
        token = boundary.enter()
        answer: Any = None
        try:
            answer = question()
            checked = check(answer)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the plugin's boundary
            failure = error
            if inspect.isawaitable(answer):
                discard(answer)
        else:
            if boundary.failures_in_row:
                boundary.passed()
            return checked
        finally:
            boundary.leave(token)
        boundary.failed(failure)
        return otherwise()


class GuardedBatching(Guard):
    """Asks `inner`; where it fails, `spare`."""

    def __init__(self, inner: BatchingPolicy, spare: BatchingPolicy, boundary: Boundary) -> None:
        super().__init__(boundary)
        self.inner = inner
        self.spare = spare

    @property
    def max_batch_size(self) -> int:
        """The inner policy's, 1 or more."""
        return self._ask(lambda: self.inner.max_batch_size, _at_least_one, lambda: self.spare.max_batch_size)

    @max_batch_size.setter
    def max_batch_size(self, value: int) -> None:
        self.inner.max_batch_size = self.spare.max_batch_size = value

    @property
    def batch_timeout_ms(self) -> float:
        """The inner policy's."""
        return self._ask(lambda: self.inner.batch_timeout_ms, _finite, lambda: self.spare.batch_timeout_ms)

    @batch_timeout_ms.setter
    def batch_timeout_ms(self, value: float) -> None:
        self.inner.batch_timeout_ms = self.spare.batch_timeout_ms = value

    def windows_s(self) -> tuple[float, float, float, float]:
        """The inner policy's windows, if they are four finite numbers."""

        def check(answer: Any) -> tuple[float, float, float, float]:
            critical, high, normal, low = (_finite(one) for one in answer)
            return critical, high, normal, low

        return self._ask(lambda: self.inner.windows_s(), check, self.spare.windows_s)

    def due_at(self, priority: UpdatePriority, now: float) -> float:
        """The inner policy's answer, at most `LONGEST_WAIT_S` away."""
        due = self._ask(
            lambda: self.inner.due_at(priority, now), _finite, lambda: self.spare.due_at(priority, now)
        )
        return min(due, now + LONGEST_WAIT_S)

    def limit(self) -> int:
        """The inner policy's answer, 1 or more."""
        return self._ask(lambda: self.inner.limit(), _at_least_one, self.spare.limit)

    def flushed(self, classes: Iterable[UpdatePriority], now: float) -> None:
        """Told on, to both."""
        classes = tuple(classes)
        self.spare.flushed(classes, now)
        self._ask(lambda: self.inner.flushed(classes, now), _nothing, _none)

    def measured(self, size: int, duration_s: float, is_behind: bool = False) -> None:
        """Told on, to both."""
        self.spare.measured(size, duration_s, is_behind)
        self._ask(lambda: self.inner.measured(size, duration_s, is_behind), _nothing, _none)


class GuardedBreaker(Guard):
    """Asks `inner`; where it fails, `spare`, which is told every result. On the pipeline's loop."""

    def __init__(self, inner: Breaker, spare: CircuitBreaker, boundary: Boundary) -> None:
        super().__init__(boundary)
        self.inner = inner
        self.spare = spare

    @property
    def active(self) -> Breaker:
        """The one that is in charge."""
        return self.spare if self.boundary.is_off else self.inner

    def can_execute(self) -> bool:
        """The inner breaker's answer, if it is True or False."""
        return self._ask(lambda: self.inner.can_execute(), _yes_or_no, self.spare.can_execute)

    def record_success(self) -> None:
        """Told on, to both."""
        self.spare.record_success()
        self._ask(lambda: self.inner.record_success(), _nothing, _none)

    def record_failure(self) -> None:
        """Told on, to both."""
        self.spare.record_failure()
        self._ask(lambda: self.inner.record_failure(), _nothing, _none)

    def release(self) -> None:
        """Told on, to both."""
        self.spare.release()
        self._ask(lambda: self.inner.release(), _nothing, _none)

    def retry_after_s(self) -> float:
        """The inner breaker's answer, 0 or more seconds; infinite while it is held open."""

        def check(answer: Any) -> float:
            seconds = float(answer)
            if not seconds >= 0.0:
                raise ValueError(f"{answer!r:.100} is no time in seconds")
            return seconds

        return self._ask(lambda: self.inner.retry_after_s(), check, self.spare.retry_after_s)

    def get_state(self) -> dict[str, Any]:
        """The inner breaker's, if it has a `state`."""

        def check(answer: Any) -> dict[str, Any]:
            state = dict(answer)
            state["state"]
            return state

        return self._ask(lambda: self.inner.get_state(), check, self.spare.get_state)


class GuardedRetry(Guard):
    """Asks `inner`; where it fails, `spare`."""

    def __init__(self, inner: RetryPolicy, spare: RetryPolicy, boundary: Boundary) -> None:
        super().__init__(boundary)
        self.inner = inner
        self.spare = spare

    def delay_s(self, retry_count: int) -> float:
        """The inner policy's answer, if it is a time from 0 to an hour."""

        def check(answer: Any) -> float:
            seconds = _finite(answer)
            if not 0.0 <= seconds <= MAX_DELAY_S:
                raise ValueError(f"{answer!r:.100} is no delay from 0 to {MAX_DELAY_S:g} seconds")
            return seconds

        return self._ask(
            lambda: self.inner.delay_s(retry_count), check, lambda: self.spare.delay_s(retry_count)
        )


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r:.100} is no time in seconds")
    return number


def _at_least_one(value: Any) -> int:
    return max(1, int(value))


def _yes_or_no(value: Any) -> bool:
    if value is not True and value is not False:
        raise TypeError(f"{value!r:.100} is neither True nor False")
    return value


def _nothing(value: Any) -> None:
    if value is not None and inspect.isawaitable(value):
        raise TypeError("it returned an awaitable: it must be a plain function")


def _none() -> None:
    return None


def guarded_batching(
    policy: BatchingPolicy, spare: Callable[[], BatchingPolicy], boundary: Callable[[], Boundary]
) -> BatchingPolicy:
    """A policy that can't fail: the built-in as it is, any other with a guard."""
    return policy if type(policy) is AdaptiveBatching else GuardedBatching(policy, spare(), boundary())


def guarded_breaker(
    breaker: Any, spare: Callable[[], CircuitBreaker], boundary: Callable[[], Boundary]
) -> Breaker:
    """A breaker that can't fail, as above."""
    return breaker if type(breaker) is CircuitBreaker else GuardedBreaker(breaker, spare(), boundary())


def guarded_retry(
    policy: RetryPolicy, spare: Callable[[], RetryPolicy], boundary: Callable[[], Boundary]
) -> RetryPolicy:
    """A policy that can't fail, as above."""
    return policy if type(policy) is ExponentialBackoff else GuardedRetry(policy, spare(), boundary())
