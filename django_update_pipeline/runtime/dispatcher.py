"""The one loop: wait until something is due, take a batch, have it delivered.

A flush is what is delivered until the loop turns, one batch or several: in that turn everybody who was waiting is
handed frames. The time until then is the cost of the flush, from which the batching policy sizes the next. A transport
or transformer that waits lets the loop turn in the middle: what was delivered before is a flush, and told of, however
long the rest takes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.batching import NEVER, BatchProcessor
from ..core.messages import UpdateMessage
from ..core.ports import Clock
from .delivery import Delivery
from .ingress import Ingress

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Flush:
    """Batches that are handed out together. `size` is of all that was taken for them, whatever became of it."""

    began: float
    size: int = 0
    delivered: list[UpdateMessage] = field(default_factory=list)
    is_over: bool = False


class Dispatcher:
    """Runs on the pipeline's loop; `notify` may be called from any thread."""

    def __init__(
        self,
        processor: BatchProcessor,
        ingress: Ingress,
        delivery: Delivery,
        clock: Clock,
        on_batch: Callable[[list[UpdateMessage], float, float], None],
    ) -> None:
        self.processor = processor
        self.ingress = ingress
        self.delivery = delivery
        self.clock = clock
        self.on_batch = on_batch
        self.last_batch_size = 0
        self.last_batch_duration_ms = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._waker: asyncio.Future[None] | None = None
        self._awaited = -NEVER  # when the loop looks again by itself; earlier due times must wake it

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Binds to a loop, in whose thread this is called."""
        self._thread = threading.get_ident()
        self._waker = None
        self._awaited = -NEVER
        self._loop = loop

    def detach(self) -> None:
        """Binds to none: what is queued waits."""
        self._loop = None

    def notify(self) -> None:
        """Something may be due earlier than the loop knows. Any thread; cheap when it knows."""
        due = self.processor.next_due
        if due >= self._awaited:
            return
        self._awaited = due
        self.nudge()

    def nudge(self) -> None:
        """Anything may have changed: look again. Any thread."""
        loop = self._loop
        if loop is None:
            return
        if threading.get_ident() == self._thread and asyncio.current_task(loop) is not None:
            self._wake()
            return
        # Another thread, or a signal handler in the loop's own while it waits for sockets: only this ends the wait.
        try:
            loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # closed without stop(): what is queued waits for the next start
            self._loop = None

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None and not waker.done():
            waker.set_result(None)

    async def run(self) -> None:
        """Delivers for ever; cancel it to end."""
        task = asyncio.current_task()
        assert task is not None
        await self._resume()
        while not task.cancelling():  # a transport may swallow the cancellation
            # Behind the door: another thread's drain may be at the queue.
            taken, until = self.ingress.try_run(self.processor.wait_until)
            if taken and until is not None:
                await self._wait(until)
            else:
                await asyncio.sleep(0)
            await self._flush()

    async def drain(self) -> None:
        """Delivers until nothing waits, pauses left out; what backs off is waited for."""
        await self._resume()
        while self.ingress.waiting() or self.processor.queue.chains:
            _, pause = self.ingress.try_run(self._pause_of_drain)
            if pause == 0.0:
                await self._flush()
            else:
                await asyncio.sleep(0.0 if pause is None else pause)

    def _pause_of_drain(self) -> float:
        """How long to wait for what backs off or is being made, 0 if something can be taken. Behind the door."""
        queue = self.processor.queue
        now = self.clock.monotonic()
        queue.wake_up(now)
        if queue.has_ready():
            self.processor.next_due = -NEVER
            return 0.0
        wake_up = queue.next_wake_up()
        return 0.005 if wake_up is None else min(max(wake_up - now, 0.001), 0.1)

    async def _wait(self, until: float) -> None:
        """Waits until a monotonic time, or until `notify` has an earlier one."""
        loop = self._loop
        assert loop is not None
        delay = until - self.clock.monotonic()
        if delay <= 0.0:
            await asyncio.sleep(0)
            return
        waker = self._waker = loop.create_future()
        timer = loop.call_later(delay, self._wake) if until != NEVER else None
        self._awaited = until
        if self.processor.next_due < until:  # queued from another thread before `_awaited` was set
            self._wake()
        try:
            await waker
        finally:
            self._waker = None
            self._awaited = -NEVER
            if timer is not None:
                timer.cancel()

    async def _flush(self) -> None:
        now = self.clock.monotonic()
        taken, batch = self.ingress.try_run(lambda: self.processor.take_due(now))
        if not taken:
            await asyncio.sleep(0)  # another thread is at the door for some microseconds
            return
        if not batch:
            return
        delivery, loop = self.delivery, asyncio.get_running_loop()
        flush = Flush(now)
        while batch:
            began = self.clock.monotonic()
            await delivery.deliver(batch)
            has_turned = flush.is_over
            if has_turned:
                flush = Flush(began)
            if not flush.size:
                # Behind the connections' turn, which is asked for already.
                loop.call_soon(self._handed_out, flush)
            flush.size += len(batch)
            flush.delivered += delivery.delivered
            self.last_batch_size = len(batch)
            if has_turned:
                break
            _, batch = self.ingress.try_run(lambda: self.processor.take_more(now, delivery.made_bytes))
        await asyncio.sleep(0)

    def _handed_out(self, flush: Flush) -> None:
        """The loop turned: connections that were ready have what was delivered."""
        flush.is_over = True
        done = self.clock.monotonic()
        took_s = done - flush.began
        self.last_batch_duration_ms = took_s * 1000
        self.processor.policy.measured(flush.size, took_s, self.processor.is_behind)
        self.on_batch(flush.delivered, flush.began, done)

    async def _resume(self) -> None:
        """What was interrupted is delivered first, and told of; how long it took says nothing of its size."""
        began = self.clock.monotonic()
        await self.delivery.resume()
        if self.delivery.delivered:
            self.on_batch(self.delivery.delivered, began, self.clock.monotonic())
