"""A token bucket: how many messages a socket may send.

Lives here: the count. Not here: what a refusal costs the client (the session decides). Belongs to one event
loop and takes no locks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from ..exceptions import ConfigurationError

_SLACK_TOKENS: Final = 1e-6
_SLACK_S: Final = 1e-8
# What may be missing (in tokens, plus a time's worth of them): sums of floats round, a clock that has run for
# months ticks in nanoseconds, and a wait as told must still be enough.


class TokenBucket:
    """Allows ``rate_per_s`` on average and ``burst`` at once; asking never blocks.

    Law T1: within any t seconds at most ``burst + rate_per_s * t`` tokens are given.
    Law T2: after ``retry_after_s(n)`` seconds in which nobody else takes any, ``try_acquire(n)`` succeeds;
        just before, it does not.
    Law T3: a refused request costs no tokens.

    Args:
        rate_per_s: tokens that come back each second.
        burst: tokens a full bucket holds; it starts full.
        monotonic: monotonic clock, seconds.

    Raises:
        ConfigurationError: rate or burst is not a finite number above 0, or burst is below 1.
    """

    __slots__ = ("_burst", "_filled_at", "_monotonic", "_rate_per_s", "_slack", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, monotonic: Callable[[], float]) -> None:
        if not 0.0 < rate_per_s < math.inf:
            raise ConfigurationError(
                f"rate_per_s is {rate_per_s!r}; it must be above 0 and finite; for no limit use no bucket",
                path="rate_per_s",
            )
        if not 1.0 <= burst < math.inf:
            raise ConfigurationError(
                f"burst is {burst!r}; it must be at least 1 and finite, or nothing would ever pass",
                path="burst",
            )
        self._rate_per_s = float(rate_per_s)
        self._burst = float(burst)
        self._slack = _SLACK_TOKENS + self._rate_per_s * _SLACK_S
        self._monotonic = monotonic
        self._tokens = self._burst
        self._filled_at = monotonic()

    @property
    def rate_per_s(self) -> float:
        """Tokens that come back each second."""
        return self._rate_per_s

    @property
    def burst(self) -> float:
        """Tokens a full bucket holds."""
        return self._burst

    def try_acquire(self, n: float = 1.0) -> bool:
        """Take ``n`` tokens if they are there. More than ``burst`` are never there.

        Raises:
            ValueError: ``n`` is not above 0.
        """
        if self._filled(n) < n - self._slack:
            return False
        self._tokens -= n
        return True

    def retry_after_s(self, n: float = 1.0) -> float:
        """Seconds until ``n`` tokens will be there: 0 when they are, infinite when ``n`` is above ``burst``.

        Raises:
            ValueError: ``n`` is not above 0.
        """
        missing = n - self._filled(n)
        if missing <= self._slack:
            return 0.0
        return missing / self._rate_per_s if n <= self._burst else math.inf

    def _filled(self, n: float) -> float:
        if not n > 0.0:
            raise ValueError(f"n is {n!r}; ask for a number of tokens above 0")
        now = self._monotonic()
        if now > self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate_per_s)
            self._filled_at = now
        return self._tokens
