"""A plugin's batching policy at the door: what it raises or returns wrongly costs no update.

The built-in policy needs no guard, so the hot path has none where no plugin put another in its place.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..core.batching import AdaptiveBatching, BatchingPolicy
from ..core.config import BatchingConfig
from ..core.messages import UpdatePriority

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: No policy may make an update wait longer than this, in seconds.
LONGEST_WAIT_S = 60.0


class GuardedBatching:
    """Asks `inner`, and says *at once* and *as many as allowed* where it fails."""

    def __init__(self, inner: BatchingPolicy) -> None:
        self.inner = inner
        self.failures = 0
        self._defaults = BatchingConfig()

    @property
    def max_batch_size(self) -> int:
        """The inner policy's, 1 or more."""
        size = self._ask(lambda: int(self.inner.max_batch_size), self._defaults.max_batch_size)
        return max(1, size)

    @max_batch_size.setter
    def max_batch_size(self, value: int) -> None:
        self.inner.max_batch_size = value

    @property
    def batch_timeout_ms(self) -> float:
        """The inner policy's."""
        return self._ask(lambda: float(self.inner.batch_timeout_ms), self._defaults.batch_timeout_ms)

    @batch_timeout_ms.setter
    def batch_timeout_ms(self, value: float) -> None:
        self.inner.batch_timeout_ms = value

    def windows_s(self) -> tuple[float, float, float, float]:
        """The inner policy's windows, if they are four finite numbers."""

        def ask() -> tuple[float, float, float, float]:
            critical, high, normal, low = (_finite(one) for one in self.inner.windows_s())
            return critical, high, normal, low

        return self._ask(ask, AdaptiveBatching(self._defaults).windows_s())

    def due_at(self, priority: UpdatePriority, now: float) -> float:
        """The inner policy's answer, at most `LONGEST_WAIT_S` away."""
        return min(self._ask(lambda: _finite(self.inner.due_at(priority, now)), now), now + LONGEST_WAIT_S)

    def limit(self) -> int:
        """The inner policy's answer, 1 or more."""
        return max(1, self._ask(lambda: int(self.inner.limit()), self._defaults.max_batch_size))

    def flushed(self, classes: Iterable[UpdatePriority], now: float) -> None:
        """Told on."""
        classes = tuple(classes)
        self._ask(lambda: self.inner.flushed(classes, now), None)

    def measured(self, size: int, duration_s: float, is_behind: bool = False) -> None:
        """Told on."""
        self._ask(lambda: self.inner.measured(size, duration_s, is_behind), None)

    def _ask(self, question: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return question()
        except Exception as error:  # the plugin's boundary
            self.failures += 1
            if self.failures & (self.failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                logger.warning(
                    "batching policy %s failed (%d time(s)), the default is used: %r",
                    type(self.inner).__name__,
                    self.failures,
                    error,
                )
            return otherwise


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no time in seconds")
    return number


def guarded(policy: BatchingPolicy) -> BatchingPolicy:
    """A policy that can't fail: the built-in as it is, any other with a guard."""
    return policy if type(policy) is AdaptiveBatching else GuardedBatching(policy)
