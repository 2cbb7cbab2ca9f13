"""Time that tests move: a clock advanced by hand, and a loop whose waiting takes no time."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: 2021-06-11, the Unix time at which manual clocks begin.
START_TIME = 1_623_456_789.0


class ManualClock:
    """A `Clock` that stands still until it is advanced. Unix time and monotonic time move together.

    It moves no event loop's timers: to let a pipeline's pauses pass, run it on a `VirtualTimeLoop`.
    """

    def __init__(self, monotonic: float = 1000.0, time: float = START_TIME) -> None:
        self._monotonic = monotonic
        self._time = time

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic

    def time(self) -> float:
        """Unix seconds."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Lets time pass.

        Raises:
            ValueError: `seconds` is negative; to set the wall clock back, use `step_wall_clock`.
        """
        if seconds < 0:
            raise ValueError(f"monotonic time never goes back: advance({seconds!r})")
        self._monotonic += seconds
        self._time += seconds

    def step_wall_clock(self, seconds: float) -> None:
        """Moves Unix time alone, forward or back, as an administrator or a leap second does."""
        self._time += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: where the loop would sleep until a timer, its time jumps there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:  # no timer: only a thread or a socket can go on, which takes real time
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on which `asyncio.sleep(30)` takes no time and `loop.time()` says that 30 s passed.

    Order and timeouts are those of a real loop on an infinitely fast machine, so tests of back-off, pauses and
    deadlines run at once and always alike. Threads and sockets live in real time: where they take part, time jumps
    past them.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Waits for its threads without a timeout: they live in real time, and virtual time would jump past it."""
        await super().shutdown_default_executor()


class LoopClock:
    """A `Clock` that reads a loop's time: on a `VirtualTimeLoop` the pipeline's own time jumps along.

    Args:
        loop: the running loop if left out.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        loop = loop or asyncio.get_running_loop()
        self.monotonic: Callable[[], float] = loop.time

    def time(self) -> float:
        """Unix seconds; the loop began at `START_TIME`."""
        return START_TIME + self.monotonic()


def in_virtual_time(test: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, _T]:
    """Makes an async test a plain one that runs on a `VirtualTimeLoop` of its own."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(test(*args, **kwargs))

    return run
