"""The one way out: the transport, behind its circuit breaker.

It runs on the pipeline's loop, one publication at a time. What is done about a failure is the caller's
(`runtime.delivery`); here it is asked, tried once, and told how it went.
"""

from __future__ import annotations

import asyncio

from ..core.names import error_text
from ..core.ports import Breaker, Transport
from ..core.publication import Publication
from ..exceptions import UpdatesRejected
from ..transports.memory import MemoryTransport
from .boundary import PartFailed
from .containment import Containment


class Egress:
    """Where publications leave. `acknowledged` is the last that passed: what works while something else does not."""

    def __init__(
        self, transport: Transport, breaker: Breaker, containment: Containment, timeout_s: float
    ) -> None:
        self.transport = transport
        self.breaker = breaker
        self.timeout_s = timeout_s
        self._boundary = containment.of_part("transport", transport)
        self._boundary.max_stuck = 1  # one publication is out at a time
        self.acknowledged: Publication | None = None
        self.failures_in_row = 0
        self.failure_count = 0
        self._changed = asyncio.Event()

    def on_new_loop(self) -> None:
        """The pipeline starts on a loop: what is bound to an earlier one is made anew."""
        self._changed = asyncio.Event()

    def look_again(self) -> None:
        """Ends a pause, or the wait for the breaker: it was reset or reconfigured. On the loop."""
        self._changed.set()

    async def admitted(self) -> bool:
        """Waits until the breaker lets a call through. True: it had to wait."""
        has_waited = False
        while not self.breaker.can_execute():
            has_waited = True
            # A shorter open time may be set while we wait, which is no event: hence the upper bound.
            await self.pause(min(max(self.breaker.retry_after_s(), 0.001), 0.5))
        return has_waited

    async def pause(self, seconds: float) -> None:
        """Waits so long, or until it is to look again."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def publish(self, publication: Publication) -> None:
        """Hands a publication to the transport, once. The caller was let through, and says how it went.

        Raises:
            UpdatesRejected: some of it was rejected; the rest is acknowledged.
            Exception: anything else is an outage, whatever it is.
        """
        publish, timeout_s = self.transport.publish, self.timeout_s
        if type(self.transport) is MemoryTransport:
            # Ours: it neither hangs nor blocks, and is on every batch's way.
            await publish(publication)
            return
        boundary = self._boundary
        try:
            await boundary.in_time(boundary.ask(publish, publication), timeout_s, "transport_timeout_s")
        except asyncio.CancelledError:
            self.breaker.release()
            raise
        except PartFailed as failure:
            if isinstance(failure.error, UpdatesRejected):
                boundary.passed()
                raise failure.error from None
            boundary.failed(failure.error)
            raise
        if boundary.failures_in_row:
            boundary.passed()

    def passed(self, publication: Publication) -> None:
        """The transport took it, or rejected some of it: it works."""
        self.breaker.record_success()
        self.failures_in_row = 0
        self.acknowledged = publication

    def failed(self) -> None:
        """The transport did not answer as it should."""
        self.breaker.record_failure()
        self.failures_in_row += 1
        self.failure_count += 1

    async def passes(self, publication: Publication) -> bool:
        """Whether what was acknowledged before is acknowledged again: then the transport works."""
        if not self.breaker.can_execute():
            return False
        try:
            await self.publish(publication)
        except UpdatesRejected:
            pass
        except Exception:  # the transport's boundary; the caller counts it
            self.breaker.release()
            return False
        self.breaker.record_success()
        self.failures_in_row = 0
        return True


def rejections(error: UpdatesRejected, publication: Publication) -> dict[int, str]:
    """The places that were rejected; the one there is, where the transport named none of them."""
    count = len(publication.changes)
    reasons = {place: str(reason) for place, reason in error.reasons.items() if place in range(count)}
    if count == 1 and not reasons:
        return {0: str(next(iter(error.reasons.values()), "rejected"))}
    return reasons


def cause_of(error: BaseException) -> str:
    """What the transport raised, in one line."""
    return error_text(error.error if isinstance(error, PartFailed) else error)
