"""Watches the event loop from a thread of its own: a loop that is blocked can't say so itself.

Twice a second the thread asks the loop to come round. While no answer comes it looks what the loop's thread is
doing, so that `stall()` (any thread) and the log name the place *while it is going on*. The loop has no timer for
this: a process that slept is asked once when it wakes, however long it slept.

The thread lives from `start` to `stop` of the pipeline, is a daemon, and does not survive a fork. It costs less than
0.1 % of a processor (`benchmarks/metrics.py`). Where no thread can be started the pipeline runs without it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from ..core.health import MAX_LOOP_STALL_S
from ..core.liveness import NO_STALL, AwakeClock, Stall, StallMeter
from ..core.names import error_text, one_line
from .complaints import complain

logger = logging.getLogger(__name__)

TICK_S: Final = 0.5
"""How often the loop is asked. A stall is told up to so much shorter than it was."""

KEEP_S: Final = 60.0
"""A stall stays in the health report so long after its end."""

_FRAMES: Final = 3
_JOIN_TIMEOUT_S: Final = 1.0


class Watchdog:
    """One loop's watchdog. `start` and `stop` are called on the loop, the rest in any thread.

    Args:
        on_round: called on the loop each time it came round; for what must be looked at now and then.
        suspect: given the loop's thread, says which part is being called in it; empty for none.
        limit_s, tick_s: what is a stall, and how often the loop is asked.
        monotonic, cpu: the clocks, seconds; the machine's own, also for a pipeline whose clock is another.
    """

    def __init__(
        self,
        on_round: Callable[[], None] = lambda: None,
        suspect: Callable[[int], str] = lambda thread: "",
        *,
        limit_s: float = MAX_LOOP_STALL_S,
        tick_s: float = TICK_S,
        monotonic: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.tick_s = tick_s
        self.meter = StallMeter(limit_s, KEEP_S)
        self._on_round = on_round
        self._suspect = suspect
        self._monotonic = monotonic
        self._cpu = cpu
        self._clock = AwakeClock(tick_s, monotonic(), cpu())
        self._pid = 0
        self._loop_thread = 0
        self._thread: threading.Thread | None = None
        self._stop: threading.Event | None = None
        self._has_failed = False

    @property
    def is_watching(self) -> bool:
        """Whether its thread runs, in this process."""
        return self._thread is not None and self._pid == os.getpid() and self._thread.is_alive()

    def start(self) -> None:
        """Begins to watch the running loop."""
        self.stop()
        loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._loop_thread = threading.get_ident()
        self._clock.tick(self._monotonic(), self._cpu())
        self.meter.forget()
        stop = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=(loop, stop), name="update-pipeline-watchdog", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            logger.warning("nobody watches the event loop: %s", error_text(error))
            return
        self._thread, self._stop = thread, stop

    def stop(self) -> None:
        """Ends it. Its thread is gone on return, unless a handler of the log holds it up."""
        thread, stop = self._thread, self._stop
        self._thread = self._stop = None
        if thread is None or stop is None or self._pid != os.getpid():
            return  # after a fork neither the thread nor its lock is ours
        stop.set()
        if thread is not threading.current_thread():
            thread.join(_JOIN_TIMEOUT_S)
        self.meter.forget()

    def stall(self) -> Stall:
        """The worst stall of late, the one that is going on included."""
        return NO_STALL if self._pid != os.getpid() else self.meter.worst(self._now())

    def _now(self) -> float:
        return self._clock.read(self._monotonic(), self._cpu())

    # in the thread

    def _watch(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        told_s = 0.0
        while not stop.wait(self.tick_s):
            self._clock.tick(self._monotonic(), self._cpu())
            if not self.meter.is_asked:
                told_s = 0.0
                self.meter.ask(self._now())
                try:
                    loop.call_soon_threadsafe(self._answer, stop)
                except RuntimeError:  # it was closed without stop()
                    self.meter.forget()
                    return
                continue
            self.meter.saw(self._place())
            waits_s = self.meter.waits_s(self._now())
            if waits_s >= self.meter.limit_s and waits_s >= 2 * told_s:
                told_s = waits_s
                logger.warning(
                    "the event loop has been blocked for %.1f s, now in %s",
                    waits_s,
                    self.meter.where or "an unknown place",
                )

    def _place(self) -> str:
        """What the loop's thread is in: the plugin's part, if it is one, and the innermost frames."""
        part = self._suspect(self._loop_thread)
        frame = sys._current_frames().get(self._loop_thread)
        places: list[str] = []
        while frame is not None and len(places) < _FRAMES:
            places.append(_described(frame))
            frame = frame.f_back
        return one_line(f"{part}: " * bool(part) + ", called by ".join(places))

    # on the loop

    def _answer(self, stop: threading.Event) -> None:
        if stop is not self._stop:
            return  # it was asked before a restart
        stall = self.meter.answer(self._now())
        if stall.seconds:
            logger.warning(
                "the event loop was blocked for %.1f s in %s",
                stall.seconds,
                stall.where or "a call that lets no other thread run",
            )
        try:
            self._on_round()
        except Exception as error:  # a bug of ours in what is merely measured must not be told twice a second
            if not self._has_failed:
                self._has_failed = True
                complain(logger, error, "what is measured on the loop failed")


def _described(frame: FrameType) -> str:
    """`package/module.py:12 in Class.method`."""
    path = "/".join(frame.f_code.co_filename.replace("\\", "/").split("/")[-3:])
    return f"{path}:{frame.f_lineno} in {frame.f_code.co_qualname}"
