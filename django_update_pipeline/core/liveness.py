"""Does the event loop come round? What is counted as a stall of it, and what is no fault of its.

Lives here: the sums. Not here: asking (`runtime.watchdog` has a thread that asks the loop, and reads the clocks).

A process can stand still as a whole: it was stopped, the machine slept, or had no processor for it. Then nobody in it
is to blame, and a stall is not told. So time is counted only while the thread that asks came round itself, or while
the process used the processor (a call that lets no other thread run stops that thread, too).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

#: What the watching thread may be late by, in ticks, before the rest is taken for time that the process did not have.
GRACE_TICKS: Final = 1.5


class AwakeClock:
    """Seconds that this process really had. Ticked by one thread, read by any.

    Law Y1: it never goes back, and is never ahead of the monotonic clock.
    Law Y2: a jump of the monotonic clock between two ticks, in which the process did not use the processor, counts for
        at most `GRACE_TICKS` ticks.

    Args:
        tick_s: how often `tick` is meant to be called, seconds.
        now_s: the monotonic clock, seconds.
        cpu_s: the processor time of the whole process, seconds.
    """

    __slots__ = ("_state", "tick_s")

    def __init__(self, tick_s: float, now_s: float, cpu_s: float) -> None:
        self.tick_s = tick_s
        self._state = (0.0, now_s, cpu_s)  # in one piece, so that a reader never sees half a tick

    def tick(self, now_s: float, cpu_s: float) -> None:
        """The watching thread came round."""
        self._state = (self.read(now_s, cpu_s), now_s, cpu_s)

    def read(self, now_s: float, cpu_s: float) -> float:
        """Seconds since the clock was made."""
        awake_s, ticked_at_s, ticked_cpu_s = self._state
        passed_s = max(0.0, now_s - ticked_at_s)
        return awake_s + min(passed_s, max(GRACE_TICKS * self.tick_s, cpu_s - ticked_cpu_s))


@dataclass(frozen=True, slots=True)
class Stall:
    """The loop did not come round for `seconds`. `where` is what had its thread, as one line; empty if unknown."""

    seconds: float
    where: str = ""
    is_on: bool = False


NO_STALL: Final = Stall(0.0)


class StallMeter:
    """The stalls of one loop: the one that is going on, and the worst of late. Times are an `AwakeClock`'s.

    One thread asks (`ask`, `saw`), the loop answers (`answer`), any thread reads.

    Law Y3: a stall of at least `limit_s` is told from the moment it reaches that until `keep_s` after its end, with its
        full length; nothing is told of shorter ones.

    Args:
        limit_s: what is shorter is no stall.
        keep_s: how long a stall is told after it ended.
    """

    __slots__ = ("_asked_at", "_ended", "_where", "count", "keep_s", "lag_s", "limit_s", "total_s")

    def __init__(self, limit_s: float, keep_s: float) -> None:
        self.limit_s = limit_s
        self.keep_s = keep_s
        self.count = 0
        self.total_s = 0.0
        self.lag_s = 0.0  # how long the last answer took, whatever it was
        self._asked_at: float | None = None
        self._where = ""
        self._ended: deque[tuple[float, Stall]] = deque(maxlen=64)

    @property
    def is_asked(self) -> bool:
        """Whether a question waits for its answer."""
        return self._asked_at is not None

    @property
    def where(self) -> str:
        """What the loop's thread was last found in while the question waits."""
        return self._where

    def ask(self, awake_s: float) -> None:
        """The loop was asked to come round."""
        self._where = ""
        self._asked_at = awake_s

    def saw(self, where: str) -> None:
        """What the loop's thread was found in while the question waits."""
        self._where = where

    def answer(self, awake_s: float) -> Stall:
        """The loop came round; what it had done meanwhile, if that was a stall."""
        waited_s = self.waits_s(awake_s)
        where = self._where
        self._asked_at = None
        self.lag_s = waited_s
        if waited_s < self.limit_s:
            return NO_STALL
        stall = Stall(waited_s, where)
        self.count += 1
        self.total_s += waited_s
        self._ended.append((awake_s, stall))
        return stall

    def forget(self) -> None:
        """The question that is out will not be answered: the loop is another, or ended."""
        self._asked_at = None

    def waits_s(self, awake_s: float) -> float:
        """How long the question that is out has waited; 0 if none is."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else max(0.0, awake_s - asked_at)

    def worst(self, awake_s: float) -> Stall:
        """The longest stall of late, the one that is going on included."""
        waits_s = self.waits_s(awake_s)
        stalls = [stall for ended_at, stall in list(self._ended) if awake_s - ended_at <= self.keep_s]
        if waits_s >= self.limit_s:
            stalls.append(Stall(waits_s, self._where, is_on=True))
        return max(stalls, key=lambda stall: stall.seconds, default=NO_STALL)
