"""One batch's way: loaded, transformed and frozen, then published until it is settled.

It runs on the pipeline's loop, one batch at a time. An outage spends nobody's retries: the publication stays
as it is and the breaker says when it is tried again. An update that fails for what it is (its load, its
transformer, the transport's rejection, or failing alone while others of its batch passed) spends one of its
own, backs off, and in the end is dead-lettered; its agent's later updates wait for it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from ..core.account import CLEARED, DEAD_LETTERED, DELIVERED
from ..core.codec import encode_object, join_fields, split_object
from ..core.dead_letters import DeadLetters
from ..core.messages import JSONObject, UpdateKind, UpdateMessage
from ..core.ports import Breaker, Clock, RetryPolicy, Transformer, Transport
from ..core.priority_queue import PriorityQueue
from ..core.publication import Change, Publication
from ..core.retry import FALLBACK_DELAY_S, GiveUp, RetryIn, decide
from ..exceptions import UpdatesRejected
from .ingress import Ingress

logger = logging.getLogger(__name__)

#: A batch that failed this often is also tried update by update, to find one that fails alone.
FAILURES_BEFORE_PARTING = 3

#: How many waiting updates join a batch of one for that.
COMPANIONS = 5

#: While the breaker is closed, a failed publish is tried again after this, doubled with each failure in a row.
FIRST_PAUSE_S = 0.05


HELD_BACK = "held back"


@dataclass(slots=True)
class Work:
    """A batch on its way. `published[i]` became the publication's change i.

    `failed` has updates with reason and cause, `held_back` later updates of the same agents, `swallowed` those
    that a part made disappear. All of it is settled at the end, in one step.
    """

    batch: list[UpdateMessage]
    publication: Publication | None = None
    published: list[UpdateMessage] = field(default_factory=list)
    failed: list[tuple[UpdateMessage, str, str]] = field(default_factory=list)
    held_back: list[UpdateMessage] = field(default_factory=list)
    swallowed: list[UpdateMessage] = field(default_factory=list)


class Delivery:
    """Publishes batches and settles every update in them exactly once."""

    def __init__(
        self,
        *,
        ingress: Ingress,
        queue: PriorityQueue,
        transport: Transport,
        transformers: Sequence[Transformer],
        breaker: Breaker,
        retry: RetryPolicy,
        dead_letters: DeadLetters,
        clock: Clock,
        transport_timeout_s: float,
        hook_timeout_s: float,
        batch_ids: Callable[[], str],
        take_more: Callable[[int], list[UpdateMessage]],
        on_dead_letter: Callable[[UpdateMessage, str, str], None],
    ) -> None:
        self.ingress = ingress
        self.queue = queue
        self.transport = transport
        self.transformers = tuple(transformers)
        self.breaker = breaker
        self.retry = retry
        self.dead_letters = dead_letters
        self.clock = clock
        self.transport_timeout_s = transport_timeout_s
        self.hook_timeout_s = hook_timeout_s
        self.batch_ids = batch_ids
        self.take_more = take_more
        self.on_dead_letter = on_dead_letter
        self.failures_in_row = 0
        self.failed_updates = 0
        self.last_error = ""
        self._works: list[Work] = []
        self._changed = asyncio.Event()

    @property
    def in_flight(self) -> list[UpdateMessage]:
        """What was taken from the queue and is not settled."""
        return [update for work in self._works for update in work.batch]

    def on_new_loop(self) -> None:
        """The pipeline starts on a loop: what is bound to an earlier one is made anew."""
        self._changed = asyncio.Event()

    def breaker_changed(self) -> None:
        """The breaker was reset or reconfigured: look again. On the loop."""
        self._changed.set()

    async def deliver(self, batch: list[UpdateMessage]) -> None:
        """Takes a batch to its end. Cancelled, it stays in flight, to be resumed under its id."""
        self._works.append(Work(batch))
        await self.resume()

    async def resume(self) -> None:
        """Takes what is in flight to its end."""
        while self._works:
            work = self._works[0]
            if work.publication is None:
                await self._prepare(work)
            await self._publish(work)

    # making ready

    async def _prepare(self, work: Work) -> None:
        """Freezes a batch (Law Q4): from here on its content does not change."""
        ready = Work(work.batch)
        changes: list[Change] = []
        stopped: set[str] = set()
        for update in work.batch:
            if stopped and update.agent_id in stopped:
                ready.held_back.append(update)
                continue
            unset: tuple[str, ...] = ()
            if update.payload is not None and update.fields is None and not self.transformers:
                content = update.payload
            else:
                try:
                    made = await self._content(update)
                except Exception as error:  # a source's load or a transformer: counted, nobody else's fault
                    cause = f"{type(error).__name__}: {error}"
                    logger.warning(
                        "update of agent %r could not be made ready: %.300s", update.agent_id, cause
                    )
                    ready.failed.append((update, "part_failed", cause))
                    stopped.add(update.agent_id)
                    continue
                if made is None:
                    ready.swallowed.append(update)
                    continue
                content, unset = made
            ready.published.append(update)
            changes.append(
                Change(
                    update.kind,
                    update.agent_id,
                    update.channels,
                    update.update_type,
                    content,
                    unset,
                    update.timestamp,
                    update.priority,
                )
            )
        ready.publication = Publication(self.batch_ids(), tuple(changes))
        self._works[self._works.index(work)] = ready

    async def _content(self, update: UpdateMessage) -> tuple[bytes, tuple[str, ...]] | None:
        """An update's text and the fields it removes; None if a part swallows it."""
        agent_id = update.agent_id
        unset: tuple[str, ...] = ()
        if update.kind is UpdateKind.REMOVE:
            return b"{}", ()
        text = update.payload
        if update.load is not None:
            loaded = update.load(agent_id)
            if loaded is None:
                return None
            text = encode_object(loaded, agent_id)
            if update.fields:
                fields = split_object(text) | {k: v for k, v in update.fields.items() if v is not None}
                text = join_fields({k: v for k, v in fields.items() if update.fields.get(k, b"") is not None})
        elif update.fields is not None:
            text = join_fields({k: v for k, v in update.fields.items() if v is not None})
            unset = tuple(k for k, v in update.fields.items() if v is None)
        assert text is not None
        if self.transformers:
            data: JSONObject | None = UpdateMessage(agent_id, payload=text).data
            for transformer in self.transformers:
                assert data is not None
                changed = transformer.transform(agent_id, update.update_type, data)
                if inspect.isawaitable(changed):
                    changed = await self._in_time(changed)
                if changed is None:
                    return None
                data = changed
            text = encode_object(data, agent_id)
        return text, unset

    async def _in_time(self, result: Awaitable[JSONObject | None]) -> JSONObject | None:
        async with asyncio.timeout(self.hook_timeout_s):
            return await result

    # publishing

    async def _publish(self, work: Work) -> None:
        work = self._works[0]
        publication = work.publication
        assert publication is not None
        attempts = 0
        while publication.changes:
            await self._admitted()
            try:
                await self._try(publication)
                rejected: dict[int, str] = {}
            except UpdatesRejected as error:
                rejected = error.reasons
            except Exception as error:  # the transport's boundary: an outage, whatever it raises
                attempts += 1
                self.breaker.record_failure()
                self._note_outage(error)
                if attempts % FAILURES_BEFORE_PARTING == 0 and await self._in_parts():
                    return
                await self._pause(min(FIRST_PAUSE_S * 2.0 ** min(self.failures_in_row - 1, 10), 1.0))
                continue
            self.breaker.record_success()
            self.failures_in_row = 0
            self._finish(work, rejected)
            return
        self._finish(work, {})

    async def _try(self, publication: Publication) -> None:
        try:
            async with asyncio.timeout(self.transport_timeout_s):
                await self.transport.publish(publication)
        except asyncio.CancelledError:
            self.breaker.release()
            raise

    async def _in_parts(self) -> bool:
        """Publishes update by update, to find those that fail alone while others pass.

        A batch of one is joined by what waits behind it, or there would be nobody to compare with. False:
        nothing passed, so it is an outage.
        """
        first = self._works[0].publication
        if first is not None and len(first.changes) == 1 and len(self._works) == 1:
            more = self.take_more(COMPANIONS)
            if more:
                self._works.append(Work(more))
                await self._prepare(self._works[-1])
        results: list[dict[int, str]] = []
        passed = False
        stopped: set[str] = set()
        for work in self._works:
            failed: dict[int, str] = {}
            results.append(failed)
            assert work.publication is not None
            for part in work.publication.parts():
                agent_id = part.changes[0].agent_id
                if agent_id in stopped or not self.breaker.can_execute():
                    failed[part.part] = HELD_BACK
                    stopped.add(agent_id)
                    continue
                try:
                    await self._try(part)
                except UpdatesRejected as error:
                    failed[part.part] = next(iter(error.reasons.values()), "rejected")
                except Exception as error:  # the transport's boundary, as above
                    self.breaker.record_failure()
                    self._note_outage(error)
                    failed[part.part] = f"{type(error).__name__}: {error}"
                    stopped.add(agent_id)
                    continue
                self.breaker.record_success()
                self.failures_in_row = 0
                passed = True
        if not passed:
            return False
        for work, failed in zip(list(self._works), results, strict=True):
            self._finish(work, failed)
        return True

    async def _admitted(self) -> None:
        """Waits until the breaker lets a call through."""
        while not self.breaker.can_execute():
            # A shorter open time may be set while we wait, which is no event: hence the upper bound.
            await self._pause(min(max(self.breaker.retry_after_s(), 0.001), 0.5))

    async def _pause(self, seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _note_outage(self, error: Exception) -> None:
        self.failures_in_row += 1
        self.last_error = f"{type(error).__name__}: {error}"[:200]
        if self.failures_in_row & (self.failures_in_row - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
            logger.warning(
                "transport %s failed %d time(s) in a row: %s",
                self.transport.name,
                self.failures_in_row,
                self.last_error,
            )

    # settling, all of it behind the door

    def _finish(self, work: Work, rejected: dict[int, str]) -> None:
        """Hands a batch's outcome in, and lets go of it."""
        self._works.remove(work)
        if rejected:
            published, work.published = work.published, []
            for index, update in enumerate(published):
                cause = rejected.get(index)
                if cause is None:
                    work.published.append(update)
                elif cause == HELD_BACK:
                    work.held_back.append(update)
                else:
                    work.failed.append((update, "rejected", cause))
        self.ingress.put(lambda: self._settle(work))

    def _settle(self, work: Work) -> None:
        queue = self.queue
        for update in work.published:
            queue.settle(update, DELIVERED)
            if update.waiters:
                for waiter in update.waiters:
                    waiter.delivered()
        if work.failed or work.held_back or work.swallowed:
            self._settle_rest(work)
        queue.release(work.batch)

    def _settle_rest(self, work: Work) -> None:
        for update in work.swallowed:
            self.queue.settle(update, CLEARED)
            for waiter in update.waiters or ():
                waiter.failed("cleared", "a transformer or source let it disappear")
        back: dict[str, list[UpdateMessage]] = {}
        waits: dict[str, float] = {}
        for update, reason, cause in work.failed:
            self.failed_updates += 1
            decision = self._decide(update)
            if isinstance(decision, GiveUp):
                self.queue.settle(update, DEAD_LETTERED)
                self.bury(update, reason, cause)
            else:
                update.retry_count += 1
                back.setdefault(update.agent_id, []).append(update)
                waits[update.agent_id] = self.clock.monotonic() + decision.delay_s
        for update in work.held_back:
            back.setdefault(update.agent_id, []).append(update)
        for agent_id, updates in back.items():
            self.queue.give_back(sorted(updates, key=work.batch.index))
            if agent_id in waits:
                self.queue.back_off(agent_id, waits[agent_id])

    def _decide(self, update: UpdateMessage) -> RetryIn | GiveUp:
        try:
            decision = decide(update.retry_count, update.max_retries, self.retry)
        except Exception as error:  # the policy is a plugin's: its failure must not lose an update
            decision = RetryIn(FALLBACK_DELAY_S, f"{type(self.retry).__name__} failed: {error!r:.200}")
        if isinstance(decision, RetryIn) and decision.complaint:
            logger.warning("retry policy: %s", decision.complaint)
        return decision

    def bury(self, update: UpdateMessage, reason: str, cause: str) -> None:
        """Keeps an update whose account was closed as dead-lettered, and says so. Behind the door."""
        if update.payload is None and update.fields is not None:
            update.payload = join_fields(
                {k: v if v is not None else b"null" for k, v in update.fields.items()}
            )
        self.dead_letters.add(update, reason, cause, self.clock.time())
        for waiter in update.waiters or ():
            waiter.failed("dead_lettered", f"{reason}: {cause}")
        logger.warning("update of agent %r is dead (%s): %.200s", update.agent_id, reason, cause)
        self.on_dead_letter(update, reason, cause)
