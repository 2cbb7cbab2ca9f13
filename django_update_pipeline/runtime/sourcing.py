"""The sources of a running pipeline: started, stopped, and stopped for good where they fail.

Everything here is on the pipeline's loop, but `failed` and `passed`, which a source's listener calls in any thread.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable
from typing import Any

from .boundary import Boundary, PartFailed
from .containment import Containment

logger = logging.getLogger(__name__)


class Sources:
    """One pipeline's sources, each behind its boundary.

    A source that can't be started is off until it is switched on, or the pipeline starts again. One that is
    switched off is stopped, and started when it is switched on.
    """

    def __init__(self, containment: Containment, *, timeout_s: float) -> None:
        self._containment = containment
        self._sources: list[tuple[Any, Boundary]] = []
        self._timeout_s = timeout_s
        self._started: list[tuple[Any, Boundary]] = []
        self._pipeline: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns: set[asyncio.Task[None]] = set()

    async def start(self, sources: Iterable[Any], pipeline: Any) -> None:
        """Starts these, in order, those that were off as well."""
        self._pipeline = pipeline
        self._sources = [(source, self._containment.of_part("source", source)) for source in sources]
        for source, boundary in self._sources:
            boundary.switched = self._switched
            if boundary.is_off:
                boundary.switch_on("the pipeline starts")
            await self._start(source, boundary)
        self._loop = asyncio.get_running_loop()
        for _, boundary in self._sources:
            if boundary.is_off:  # since it was started
                self._switched(boundary)

    async def stop(self) -> None:
        """Stops those that run, the last one first."""
        self._loop = None
        turns, self._turns = self._turns, set()
        here = asyncio.get_running_loop()
        for turn in turns:
            if turn.get_loop() is here:
                turn.cancel()
        alive = {turn for turn in turns if turn.get_loop() is here}
        if alive:
            await asyncio.wait(alive, timeout=self._timeout_s)
        while self._started:
            await self._stop(*self._started[-1])

    async def _start(self, source: Any, boundary: Boundary) -> None:
        self._started.append((source, boundary))
        try:
            result = boundary.ask(source.start, self._pipeline)
            if inspect.isawaitable(result):
                await boundary.in_time(result, self._timeout_s)
        except PartFailed as failure:
            boundary.failed(failure.error)
            await self._stop(source, boundary)
            if not boundary.is_off:
                boundary.switch_off(f"it could not be started: {boundary.last_error}")

    async def _stop(self, source: Any, boundary: Boundary) -> None:
        """Stops one, once. Cancelled while it waits, the source was told to stop all the same."""
        try:
            self._started.remove((source, boundary))
        except ValueError:
            return
        try:
            result = boundary.ask(source.stop)
            if inspect.isawaitable(result):
                await boundary.in_time(result, self._timeout_s)
        except PartFailed as failure:
            boundary.failed(failure.error)

    # off and on

    def _switched(self, boundary: Boundary) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(self._follow, boundary)
        except RuntimeError:  # closed meanwhile
            return

    def _follow(self, boundary: Boundary) -> None:
        if self._loop is None:
            return
        turn = self._loop.create_task(self._turn(boundary), name="update-pipeline-source")
        self._turns.add(turn)
        turn.add_done_callback(self._turns.discard)

    async def _turn(self, boundary: Boundary) -> None:
        """Makes a source what its boundary says."""
        for source, own in self._sources:
            if own is not boundary:
                continue
            is_running = (source, own) in self._started
            if boundary.is_off and is_running:
                await self._stop(source, own)
            elif not boundary.is_off and not is_running:
                await self._start(source, own)

    # what a listener says

    def failed(self, source: object, error: BaseException, subject: str | None = None) -> None:
        """A change could not be queued, because of what the source does with it. Any thread."""
        for one, boundary in self._sources:
            if one is source:
                boundary.failed(error, subject)

    def passed(self, source: object) -> None:
        """A change was queued. Any thread."""
        for one, boundary in self._sources:
            if one is source and boundary.failures_in_row:
                boundary.passed()
