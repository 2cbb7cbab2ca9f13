"""An event loop on which waiting takes no time and chance decides who goes first, the same way for the same seed.

No sockets, no threads, no selector: where nothing is ready, time jumps to the next timer. What is ready in one turn
runs in a shuffled order on two seeds of three, so that nothing of ours may lean on the order in which asyncio happens
to run what has nothing to do with each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop
from random import Random
from typing import Any

from django_update_pipeline.testing.clocks import START_TIME


class NothingHappens(AssertionError):
    """Nothing is ready and no timer runs: whoever waits waits for ever."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Args:
    random: who goes first.
    is_shuffled: whether what is ready at once runs in any order; else as on a real loop.
    turn_s: how long a turn takes.
    """

    def __init__(self, random: Random, *, is_shuffled: bool, turn_s: float) -> None:
        super().__init__()
        self._random = random
        self._is_shuffled = is_shuffled
        self.turn_s = turn_s
        self._now = 0.0
        self.turns = 0
        self.problems: list[str] = []
        self.after_turn: Callable[[], None] = lambda: None
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.problems.append(f"{context['message']}: {context.get('exception')!r}")

    def _run_once(self) -> None:
        timers, ready = self._scheduled, self._ready  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            self._let_go(heappop(timers))
        if not ready:
            if not timers:
                raise NothingHappens("nothing is ready and no timer runs")
            self._now = max(self._now, timers[0].when())
        while timers and timers[0].when() <= self._now:
            timer = heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        batch = list(ready)
        ready.clear()
        if self._is_shuffled:
            self._random.shuffle(batch)
        for handle in batch:
            if not handle.cancelled():
                handle._run()
        self.turns += 1
        self._now += self.turn_s
        self.after_turn()

    def _let_go(self, timer: asyncio.TimerHandle) -> None:
        self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
        timer._scheduled = False  # type: ignore[attr-defined]

    def _write_to_self(self) -> None:
        """No selector waits that would have to be woken."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There is none."""


class SimulatedClock:
    """The loop's time as a `Clock`; the wall clock may be set."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.monotonic = loop.time
        self.set_by_s = 0.0

    def time(self) -> float:
        """Unix seconds."""
        return START_TIME + self.monotonic() + self.set_by_s
