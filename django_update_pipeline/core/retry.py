"""Retries of an update that failed itself: how long to wait, when to give up, and who is due.

Lives here: the built-in policy, the decision and the due-heap. Not here: outages. A transport that is down
spends nobody's retries; its batch waits for the circuit breaker. The shell asks ``decide`` after a failure,
pushes what is to be retried, and sleeps until ``next_due()``; nobody polls.

``RetryQueue`` belongs to one event loop and takes no locks.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from ..exceptions import ConfigurationError

FALLBACK_DELAY_S: Final = 1.0
"""The wait where a policy's answer is no duration."""
MAX_DELAY_S: Final = 3600.0
"""No policy may make an update wait longer than this."""

_Item = TypeVar("_Item")


class DelayPolicy(Protocol):
    """What ``decide`` asks: the retry policy of ``core.ports``, or anything of its shape."""

    def delay_s(self, retry_count: int) -> float:
        """Seconds to wait before the next try, ``retry_count`` tries having been spent."""
        ...


class ExponentialBackoff:
    """Waits drawn evenly from 0 to a ceiling that doubles with each retry ("full jitter").

    The ceiling is ``min(max_delay_s, base_delay_s * 2 ** retry_count)``. Full jitter spreads a crowd that
    failed together best (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).

    Law R1: a delay is from 0 to its ceiling, for every retry count; ceilings do not fall.

    Args:
        base_delay_s: ceiling of the first wait, seconds.
        max_delay_s: no ceiling is above it, seconds.
        random: uniform draw from [0, 1).

    Raises:
        ConfigurationError: not ``0 < base_delay_s <= max_delay_s <= 3600``.
    """

    __slots__ = ("_random", "base_delay_s", "max_delay_s")

    def __init__(
        self, base_delay_s: float = 0.05, max_delay_s: float = 5.0, *, random: Callable[[], float]
    ) -> None:
        if not 0.0 < base_delay_s <= max_delay_s <= MAX_DELAY_S:
            raise ConfigurationError(
                f"retry delays are base_delay_s={base_delay_s!r} and max_delay_s={max_delay_s!r}; "
                f"they must satisfy 0 < base_delay_s <= max_delay_s <= {MAX_DELAY_S:g}",
                path="retry",
            )
        self.base_delay_s = base_delay_s
        self.max_delay_s = max_delay_s
        self._random = random

    def ceiling_s(self, retry_count: int) -> float:
        """The longest wait after ``retry_count`` retries, in seconds."""
        # Beyond 64 doublings every allowed base has passed every allowed maximum, or is no sensible base;
        # an unbounded power would overflow at 1024.
        return min(self.max_delay_s, math.ldexp(self.base_delay_s, min(max(retry_count, 0), 64)))

    def delay_s(self, retry_count: int) -> float:
        """A wait in seconds after ``retry_count`` retries."""
        return self._random() * self.ceiling_s(retry_count)


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Try again after ``delay_s`` seconds. ``complaint`` says what was wrong with the policy's own answer."""

    delay_s: float
    complaint: str | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again; ``reason`` is for the dead letter."""

    reason: str


def decide(retry_count: int, max_retries: int, policy: DelayPolicy) -> RetryIn | GiveUp:
    """What to do with an update that has just failed, and had ``retry_count`` retries before.

    Law R2: an update is retried exactly ``max_retries`` times; every wait is finite and from 0 to
        ``MAX_DELAY_S``, whatever the policy answers.

    A policy is a plugin: what it raises passes through to the caller's boundary. An answer that is no
    duration is replaced (NaN in a heap would upset the order of all others), and told in ``complaint``.
    """
    if retry_count >= max_retries:
        return GiveUp(f"failed {retry_count + 1} times; max_retries is {max_retries}")
    delay_s = policy.delay_s(retry_count)
    if isinstance(delay_s, (int, float)) and not isinstance(delay_s, bool) and 0.0 <= delay_s <= MAX_DELAY_S:
        return RetryIn(float(delay_s))
    return RetryIn(
        FALLBACK_DELAY_S,
        f"{type(policy).__name__}.delay_s({retry_count}) returned {delay_s!r:.100}; it must return seconds "
        f"from 0 to {MAX_DELAY_S:g}; {FALLBACK_DELAY_S:g} s are used",
    )


class RetryQueue(Generic[_Item]):
    """What waits for its next try, by due time (monotonic seconds).

    Law R3: ``pop_due(now)`` gives exactly the waiting items due at or before ``now``, by due time, and those
        of the same time in the order they were pushed; each once.
    Law R4: ``next_due()`` is the least due time of what waits, None when nothing does.
    Law R5: what was discarded is never given; its key is free again. Memory is proportional to what waits.

    Push and pop cost O(log n), discard O(1) (the heap's dead entries are swept when they are the majority).
    """

    __slots__ = ("_entries", "_heap", "_next_seq")

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[int, _Item]] = {}
        self._heap: list[tuple[float, int, Hashable]] = []  # dead entries have a seq that _entries knows not
        self._next_seq = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._entries)

    def push(self, item: _Item, due_s: float, key: Hashable | None = None) -> Hashable:
        """Let an item wait until ``due_s``; returns its key (one of its own is made when none is given).

        Raises:
            ValueError: ``due_s`` is not finite, or the key already waits (discard it first to move it:
                replacing it here would lose an item in silence).
        """
        if not math.isfinite(due_s):
            raise ValueError(f"due_s is {due_s!r}; it must be finite monotonic seconds")
        seq = self._next_seq
        if key is None:
            key = object()  # equal to no caller's
        if key in self._entries:
            raise ValueError(f"key {key!r} already waits; discard it first")
        self._next_seq = seq + 1
        self._entries[key] = (seq, item)
        heapq.heappush(self._heap, (due_s, seq, key))
        return key

    def pop_due(self, now: float) -> list[_Item]:
        """Take what is due at ``now``, earliest first."""
        due: list[_Item] = []
        heap, entries = self._heap, self._entries
        while heap and heap[0][0] <= now:
            _, seq, key = heapq.heappop(heap)
            entry = entries.get(key)
            if entry is not None and entry[0] == seq:
                del entries[key]
                due.append(entry[1])
        return due

    def next_due(self) -> float | None:
        """When the earliest of what waits is due, monotonic seconds; None when nothing waits."""
        heap, entries = self._heap, self._entries
        while heap:
            due_s, seq, key = heap[0]
            entry = entries.get(key)
            if entry is not None and entry[0] == seq:
                return due_s
            heapq.heappop(heap)
        return None

    def discard(self, key: Hashable) -> _Item | None:
        """Take an item by its key before it is due; None when the key does not wait."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        if len(self._heap) > 2 * len(self._entries) + 16:
            self._sweep()
        return entry[1]

    def _sweep(self) -> None:
        live = {seq for seq, _ in self._entries.values()}
        self._heap = [entry for entry in self._heap if entry[1] in live]
        heapq.heapify(self._heap)
