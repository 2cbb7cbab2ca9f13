"""The one loop: wait until something is due, take a batch, have it delivered.

After each batch it lets the loop turn once: by then every writer that was waiting has been handed its frames,
so the time that took is the cost of the batch, from which the batching policy sizes the next.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from ..core.batching import NEVER, BatchProcessor
from ..core.messages import UpdateMessage
from ..core.ports import Clock
from .delivery import Delivery
from .ingress import Ingress

logger = logging.getLogger(__name__)


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
        self.batch_count = 0
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
        loop = self._loop
        if loop is None:
            return
        self._awaited = due
        if threading.get_ident() == self._thread:
            self._wake()
        else:
            try:
                loop.call_soon_threadsafe(self._wake)
            except (
                RuntimeError
            ):  # the loop was closed without stop(): what is queued waits for the next start
                self._loop = None

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None and not waker.done():
            waker.set_result(None)

    async def run(self) -> None:
        """Delivers for ever; cancel it to end."""
        if self.delivery.in_flight:
            await self.delivery.resume()
        while True:
            await self._wait(self.processor.wait_until())
            await self._flush()

    async def drain(self) -> None:
        """Delivers until nothing waits, pauses left out; what backs off is waited for."""
        if self.delivery.in_flight:
            await self.delivery.resume()
        queue = self.processor.queue
        while self.ingress.waiting() or queue.chains:
            if queue.has_ready():
                self.processor.next_due = -NEVER
                await self._flush()
            else:
                wake_up = queue.next_wake_up()
                now = self.clock.monotonic()
                await asyncio.sleep(0.001 if wake_up is None else max(0.0, wake_up - now))
                self.ingress.try_run(lambda: queue.wake_up(self.clock.monotonic()))

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
        await self.delivery.deliver(batch)
        await asyncio.sleep(0)
        done = self.clock.monotonic()
        self.last_batch_size = len(batch)
        self.last_batch_duration_ms = (done - now) * 1000
        self.batch_count += 1
        self.processor.policy.measured(len(batch), done - now, self.processor.is_behind)
        self.processor.released(done)
        self.on_batch(batch, now, done)
