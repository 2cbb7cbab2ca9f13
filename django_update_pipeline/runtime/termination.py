"""Notices that the process is told to end, before its server gets round to telling the application.

Servers tell too late, or not at all: gunicorn and hypercorn wait for open sockets first (until their grace period is
over, and gunicorn then kills the worker with what waits in it), daphne tells nobody. So SIGTERM is heard here first,
and then passed on to whoever heard it before. Decision and alternatives: docs/adr/0014-who-hears-sigterm.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from .complaints import complain

logger = logging.getLogger(__name__)


class Termination:
    """Runs a coroutine function once, when the process gets SIGTERM.

    Args:
        wind_up: what is to be done first; bounded by itself. Runs on the loop that `install` was called on.
        comes_first: whether the server hears the signal only when `wind_up` is through. Else it hears it at once;
            servers that listen through asyncio do in any case.
    """

    def __init__(self, wind_up: Callable[[], Awaitable[object]], *, comes_first: bool) -> None:
        self.has_begun = False
        self._wind_up = wind_up
        self._comes_first = comes_first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._previous: Any = signal.SIG_DFL
        self._task: asyncio.Task[None] | None = None

    def install(self) -> bool:
        """Begins to listen. False where that can't be: only the main thread may."""
        if threading.current_thread() is not threading.main_thread():
            return False
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        previous = signal.signal(signal.SIGTERM, self._heard)
        self._previous = signal.SIG_DFL if previous is None else previous
        if hasattr(signal, "siginterrupt"):
            signal.siginterrupt(signal.SIGTERM, False)  # as asyncio has it for handlers of its own
        return True

    def remove(self) -> None:
        """Stops listening, if nobody else listens in our place already. Idempotent."""
        if self._loop is None or threading.current_thread() is not threading.main_thread():
            return
        self._loop = None
        if signal.getsignal(signal.SIGTERM) == self._heard:
            signal.signal(signal.SIGTERM, self._previous)

    def _heard(self, number: int, frame: Any) -> None:
        """The signal's handler. A second signal, or one in a forked child, passes straight on."""
        loop = self._loop
        if self.has_begun or loop is None or loop.is_closed() or os.getpid() != self._pid:
            self._pass_on(number, frame)
            return
        self.has_begun = True
        loop.call_soon_threadsafe(self._begin, number)
        if not self._comes_first:
            self._pass_on(number, frame)

    def _begin(self, number: int) -> None:
        assert self._loop is not None or not self._comes_first
        self._task = asyncio.get_running_loop().create_task(self._run(number), name="update-pipeline-sigterm")

    async def _run(self, number: int) -> None:
        try:
            await self._wind_up()
        except Exception as error:  # the boundary: the process ends all the same
            complain(logger, error, "the pipeline could not be wound up")
        finally:
            if self._comes_first:
                self._pass_on(number, None)

    def _pass_on(self, number: int, frame: Any) -> None:
        """Hands the signal to who listened before us."""
        previous = self._previous
        self._loop = None
        if signal.getsignal(signal.SIGTERM) == self._heard:
            signal.signal(signal.SIGTERM, previous)
        if callable(previous):
            previous(number, frame)
        elif previous == signal.SIG_DFL:
            signal.raise_signal(number)
