"""A pipeline's life: which event loop it runs on, the task of its dispatcher, and what its end leaves.

Starting and stopping may be asked for again, at once, from several loops and after a loop has ended without a word. One
lock a loop puts such calls in order, and one thread lock lets a single loop have the pipeline. What is queued outlives
all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.names import one_line
from ..core.repeats import Repeats
from ..exceptions import WrongLoop
from .complaints import complain
from .dispatcher import Dispatcher
from .sourcing import Sources

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline

logger = logging.getLogger(__name__)

#: What a caller on another loop than the pipeline's is told.
_ELSEWHERE = (
    "runs on another event loop: stop it there first, or use it from there (queue_agent_update works from any "
    "thread)"
)


@dataclass(frozen=True, slots=True)
class StopReport:
    """What became of all accepted updates when the pipeline stopped. What is `pending` stays queued."""

    accepted: int
    delivered: int
    conflated: int
    dead_lettered: int
    cleared: int
    pending: int
    in_time: bool


class Life:
    """Starts and stops one pipeline's dispatcher, sources, transport and connections, in that order and back.

    `loop` is the one it runs on, None if it runs on none; it may have been closed without `stop()`.
    """

    def __init__(self, pipeline: UpdatePipeline, dispatcher: Dispatcher, sources: Sources) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_stopping = False
        self._pipeline = pipeline
        self._dispatcher = dispatcher
        self._sources = sources
        self._task: asyncio.Task[None] | None = None
        self._thread = 0  # the loop's
        self._claim = threading.Lock()
        self._order: asyncio.Lock | None = None
        self._order_loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_running(self) -> bool:
        """Whether the dispatcher delivers."""
        return (
            self._task is not None
            and not self._task.done()
            and not (self.loop is None or self.loop.is_closed())
        )

    def check_loop(self, what: str) -> None:
        """Lets a call pass that comes on the pipeline's loop, or on any if it has none.

        Raises:
            WrongLoop: the pipeline runs on another one; `what` names the call.
        """
        running = asyncio.get_running_loop()
        if self.loop is not None and self.loop is not running:
            if not self.loop.is_closed():
                raise WrongLoop(
                    f"{what}() was called on another event loop than the one the pipeline runs on"
                )
            self._forget_loop()

    def call(self, what: Callable[[], object]) -> None:
        """Calls it on the loop: at once if this is its thread, not at all if there is none. Any thread."""
        loop = self.loop
        if loop is None or loop.is_closed():
            return
        if threading.get_ident() == self._thread:
            what()
        else:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(what)

    # begin and end

    async def start(self) -> None:
        """Begins to deliver on the running loop. Does nothing if it does so already.

        Raises:
            WrongLoop: it runs on another loop that is alive.
        """
        async with self._in_order():
            loop = asyncio.get_running_loop()
            with self._claim:  # two threads' loops may be here at once
                if self.loop is not None and self.loop is not loop:
                    if not self.loop.is_closed():
                        raise WrongLoop(f"the pipeline already {_ELSEWHERE}")
                    self._forget_loop()
                if self.is_running:
                    return
                self.loop = loop
            try:
                await self._begin(loop)
            except BaseException:  # also when cancelled: nothing is left half started
                await self._end()
                raise
            pipeline = self._pipeline
            logger.info(
                "pipeline started: transport %s, epoch %s",
                one_line(pipeline.transport.name, 100),
                pipeline.store.epoch,
            )
            observers = pipeline.parts.observers
            observers.tell(observers.started, pipeline=pipeline)

    async def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._sources.stop()  # those of an earlier loop that ended without stop()
        pipeline = self._pipeline
        self._thread = pipeline.containment.loop_thread = threading.get_ident()
        pipeline.websocket_manager.forget_other_loops(loop)
        pipeline._delivery.on_new_loop()
        async with asyncio.timeout(pipeline.config.transport_timeout_s):
            await pipeline.transport.start(pipeline)
        self._dispatcher.attach(loop)
        self._task = loop.create_task(self._run(), name="update-pipeline-dispatcher")
        pipeline._monitor.watchdog.start()
        await self._sources.start(pipeline.parts.sources, pipeline)

    async def stop(self, timeout_s: float | None = None) -> StopReport:
        """Stops the sources, delivers what waits until the deadline, closes connections, and gives account.

        Args:
            timeout_s: the deadline in seconds, `stop_timeout_s` of the settings by default.
        """
        pipeline = self._pipeline
        async with self._in_order():
            deadline = self._deadline(timeout_s)
            in_time = True
            if self.loop is not None and self.loop.is_closed():
                self._forget_loop()
            if self.loop is not None:
                if self.loop is not asyncio.get_running_loop():  # it was started elsewhere while we waited
                    raise WrongLoop("the pipeline runs on another event loop: stop it there")
                self.is_stopping = True
                try:
                    in_time = await self._wind_up(deadline)
                finally:
                    try:
                        await self._end()
                    finally:
                        self.is_stopping = False
                logger.info("pipeline stopped")
            report = StopReport(**self._account(), in_time=in_time)
            observers = pipeline.parts.observers
            observers.tell(observers.stopped, pipeline=pipeline, report=report)
            return report

    async def see_off(self) -> None:
        """Delivers what waits, for `stop_timeout_s` at most, and closes all connections; the pipeline runs on."""
        deadline = self._deadline()
        # Asked, not told: it happens once, at the end.
        while self._account()["pending"] and self._left(deadline) > 0:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await self._catch_up(deadline)
        await self._pipeline.websocket_manager.close_all()

    def _account(self) -> dict[str, int]:
        return self._pipeline.batch_processor.queue.account.snapshot()["total"]

    def _deadline(self, timeout_s: float | None = None) -> float:
        pipeline = self._pipeline
        return pipeline.clock.monotonic() + (
            pipeline.config.stop_timeout_s if timeout_s is None else timeout_s
        )

    def _left(self, deadline: float) -> float:
        return deadline - self._pipeline.clock.monotonic()

    async def _catch_up(self, deadline: float) -> None:
        """Lets the connections send what they have: a moment also past the deadline, a second at most before it."""
        await self._pipeline.websocket_manager.caught_up(min(1.0, max(0.05, self._left(deadline))))

    async def _wind_up(self, deadline: float) -> bool:
        """Delivers what waits until the deadline; True if that was in time."""
        await self._sources.stop()
        await self._cancel_task()
        drain = asyncio.create_task(self._dispatcher.drain(), name="update-pipeline-drain")
        try:
            await asyncio.wait([drain], timeout=max(0.0, self._left(deadline)))
        finally:
            in_time = drain.done()
            await end_task(drain)
        await self._catch_up(deadline)
        return in_time

    async def _end(self) -> None:
        """Lets go of the loop: connections, transport, task. What is queued stays."""
        pipeline = self._pipeline
        pipeline._monitor.watchdog.stop()
        await self._sources.stop()
        await self._cancel_task()
        pipeline.live.stop()
        pipeline._delivery.maker.give_up()
        await pipeline.websocket_manager.close_all()
        self._dispatcher.detach()
        try:
            async with asyncio.timeout(pipeline.config.transport_timeout_s):
                await pipeline.transport.stop()
        except Exception as error:  # the transport's boundary: it is not used any more
            complain(logger, error, "transport %s could not be stopped", pipeline.transport.name)
        self.loop = None

    async def _run(self) -> None:
        complaints = Repeats()
        while self._task is asyncio.current_task():  # a cancellation that somebody swallowed ends it, too
            try:
                await self._dispatcher.run()
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                complain(
                    logger,
                    error,
                    "the dispatcher was cancelled by a part of its own; it goes on",
                    repeats=complaints,
                )
            except Exception as error:  # the last boundary: a bug of ours must not end delivery for good
                complain(logger, error, "the dispatcher failed; it goes on", repeats=complaints)
                await asyncio.sleep(0.1)

    async def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end_task(task)

    def _in_order(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._order is None or self._order_loop is not loop:
            if self.is_running and self.loop is not loop:
                raise WrongLoop(f"the pipeline {_ELSEWHERE}")
            self._order, self._order_loop = asyncio.Lock(), loop
        return self._order

    def _forget_loop(self) -> None:
        """The loop ended without stop(): its tasks and sockets are gone with it; what is queued is not."""
        pipeline = self._pipeline
        self.loop = None
        self._task = None
        pipeline._monitor.watchdog.stop()
        self._dispatcher.detach()
        pipeline.live.stop()
        pipeline.websocket_manager.forget_all()


async def end_task(task: asyncio.Task[None], timeout_s: float = 2.0) -> None:
    """Cancels a task and waits for its end; again and again, because somebody's code may swallow it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not task.done() and loop.time() < deadline:
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
    if not task.done():
        logger.error("task %s does not end: a transport or plugin swallows its cancellation", task.get_name())
    elif not task.cancelled() and (error := task.exception()) is not None:
        complain(logger, error, "task %s failed", task.get_name())
