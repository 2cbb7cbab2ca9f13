"""One batch's way: made ready and frozen, then published until it is settled.

It runs on the pipeline's loop, one batch at a time. An outage spends nobody's retries: the publication stays
as it is and the breaker says when it is tried again. An update that fails for what it is (its load, its
transformer, the transport's rejection, or failing alone while others passed) spends one of its own, backs off,
and in the end is dead-lettered; its agent's later updates wait for it.

An event whose publication was tried keeps its id and place in it, also when it backs off alone: the transport may
have taken it and only the answer was lost, and it must not arrive twice (Law Q4). State may: applying it again
changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..core.account import CLEARED, DEAD_LETTERED, DELIVERED
from ..core.batching import BatchProcessor
from ..core.codec import join_fields
from ..core.dead_letters import DeadLetters
from ..core.messages import UpdateKind, UpdateMessage, UpdatePriority
from ..core.names import error_text, one_line
from ..core.ports import Breaker, Clock, RetryPolicy, Transformer, Transport
from ..core.publication import Change, Publication
from ..core.repeats import Repeats
from ..core.retry import FALLBACK_DELAY_S, GiveUp, RetryIn, decide
from ..exceptions import UpdatesRejected
from ..transports.memory import MemoryTransport
from .boundary import PartFailed
from .containment import Containment
from .ingress import Ingress
from .making import LEFT_BEHIND, WAITS, Maker, Outcome

logger = logging.getLogger(__name__)

#: A batch that failed this often is also tried update by update, to find one that fails alone.
FAILURES_BEFORE_PARTING = 3

#: How many waiting updates join a batch of one agent for that.
COMPANIONS = 5

#: While the breaker is closed, a failed publish is tried again after this, doubled with each failure in a row.
FIRST_PAUSE_S = 0.05

HELD_BACK = "held back"

#: What waits for a part that is off looks again after this, where the part is not tried by itself.
WAIT_FOR_PART_S = 60.0


@dataclass(slots=True, eq=False)
class Work:
    """A batch on its way. `published[i]` became the publication's change i.

    `failed` has updates with reason and cause, `held_back` those that go back without having failed, `waiting` those
    that go back and wait for a part that is off, `swallowed` those that a part made disappear. All of it is settled
    at the end, in one step. `left` are those that were left behind and are not back yet.
    """

    batch: list[UpdateMessage]
    publication: Publication | None = None
    published: list[UpdateMessage] = field(default_factory=list)
    failed: list[tuple[UpdateMessage, str, str]] = field(default_factory=list)
    held_back: list[UpdateMessage] = field(default_factory=list)
    waiting: list[UpdateMessage] = field(default_factory=list)
    swallowed: list[UpdateMessage] = field(default_factory=list)
    left: list[UpdateMessage] = field(default_factory=list)
    refused: set[int] = field(
        default_factory=set
    )  # places that the transport rejected: these were not applied
    attempts: int = 0


class Delivery:
    """Publishes batches and settles every update in them exactly once."""

    def __init__(
        self,
        *,
        ingress: Ingress,
        processor: BatchProcessor,
        transport: Transport,
        transformers: Sequence[Transformer],
        breaker: Breaker,
        retry: RetryPolicy,
        dead_letters: DeadLetters,
        clock: Clock,
        containment: Containment,
        transport_timeout_s: float,
        hook_timeout_s: float,
        max_update_bytes: int,
        batch_ids: Callable[[], str],
        on_dead_letter: Callable[[UpdateMessage, str, str], None],
    ) -> None:
        self.ingress = ingress
        self.processor = processor
        self.queue = processor.queue
        self.transport = transport
        self.maker = Maker(
            transformers,
            containment=containment,
            hook_timeout_s=hook_timeout_s,
            max_update_bytes=max_update_bytes,
            returned=self._returned,
        )
        self.breaker = breaker
        self.retry = retry
        self.dead_letters = dead_letters
        self.clock = clock
        self.wait_for_part_s = containment.config.retry_after_s or WAIT_FOR_PART_S
        self._transport_boundary = containment.of_part("transport", transport)
        self._transport_boundary.max_stuck = 1  # one publication is out at a time
        self.transport_timeout_s = transport_timeout_s
        self.batch_ids = batch_ids
        self.on_dead_letter = on_dead_letter
        self.failures_in_row = 0
        self.failed_updates = 0
        self.retries = 0
        self.transport_failures = 0
        self.last_error = ""
        self.delivered: list[UpdateMessage] = []  # by the last call of `deliver` or `resume`
        self.made_bytes = 0  # of content, in what that call had published
        self._works: list[Work] = []
        # Events that wait again and keep their place in a publication; by the update's identity.
        self._frozen: dict[int, tuple[UpdateMessage, Publication]] = {}
        self._acknowledged: Publication | None = (
            None  # the last one: what works while something else does not
        )
        self.burials: dict[str, int] = {}  # how many updates died, by reason
        self._complaints = Repeats()
        self._changed = asyncio.Event()

    @property
    def in_flight(self) -> list[UpdateMessage]:
        """What was taken from the queue and is not settled."""
        updates = [update for work in self._works for update in work.batch] + self.maker.left_behind
        return list({id(update): update for update in updates}.values())

    def on_new_loop(self) -> None:
        """The pipeline starts on a loop: what is bound to an earlier one is made anew."""
        self._changed = asyncio.Event()
        self.maker.give_up()

    def breaker_changed(self) -> None:
        """The breaker was reset or reconfigured: look again. On the loop."""
        self._changed.set()

    def part_switched(self) -> None:
        """A part is off or on: what waits for one looks again. Any thread."""

        def look_again() -> None:
            if self.queue.wake_up(float("inf")):
                self.processor.released(self.clock.monotonic())

        self.ingress.put(look_again)

    def thaw(self, update: UpdateMessage) -> None:
        """An update left the queue otherwise than by delivery. Behind the door."""
        self._frozen.pop(id(update), None)

    async def deliver(self, batch: list[UpdateMessage]) -> None:
        """Takes a batch to its end. Cancelled, it stays in flight, to be resumed under its id."""
        self._add(batch)
        await self.resume()

    async def resume(self) -> None:
        """Takes what is in flight to its end."""
        self.delivered = []
        self.made_bytes = 0
        while self._works:
            for work in self._works:  # all first: what follows an agent's update waits until that is out
                if work.publication is None:
                    await self._prepare(work)
            await self._publish(self._works[0])

    # making ready

    def _add(self, batch: list[UpdateMessage]) -> None:
        """Takes a batch in. A frozen event keeps its own publication; what follows it of its agent is held back."""
        if not self._frozen:
            self._works.append(Work(batch))
            return
        rest: list[UpdateMessage] = []
        seen: set[str] = set()
        for update in batch:
            if id(update) in self._frozen and update.agent_id not in seen:
                _, publication = self._frozen.pop(id(update))
                self._works.append(Work([update], publication, [update], attempts=1))
            else:
                rest.append(update)
            seen.add(update.agent_id)
        if rest:
            self._works.append(Work(rest))

    async def _prepare(self, work: Work) -> None:
        """Freezes a batch (Law Q4): from here on its content does not change."""
        outcomes = await self.maker.make(work.batch)
        self._freeze(work, outcomes)

    def _freeze(self, work: Work, outcomes: list[Outcome]) -> None:
        changes: list[Change] = []
        # What follows an update of its agent that did not come through waits for it.
        stopped = {u.agent_id for other in self._works if other is not work for u in other.batch}
        for update, made in zip(work.batch, outcomes, strict=True):
            if (stopped and update.agent_id in stopped) or (self._frozen and id(update) in self._frozen):
                stopped.add(update.agent_id)  # a frozen event goes alone, under the id it was tried with
                work.held_back.append(update)
                if made is LEFT_BEHIND:  # it goes back with this batch, and must not come back once more
                    self.maker.forget(update)
            elif made is None:
                work.swallowed.append(update)
            elif isinstance(made, tuple):
                content, unset = made
                work.published.append(update)
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
            else:
                stopped.add(update.agent_id)
                if made is LEFT_BEHIND:
                    work.left.append(update)
                elif made is WAITS:
                    work.waiting.append(update)
                else:
                    assert isinstance(made, PartFailed)
                    work.failed.append((update, "part_failed", str(made)))
        work.publication = Publication(self.batch_ids(), tuple(changes))

    def _returned(self, update: UpdateMessage) -> None:
        """An update that was left behind may be taken again, once its batch is settled."""
        for work in self._works:
            if update in work.left:  # with what was held back because of it, and in that order
                work.left.remove(update)
                work.held_back.append(update)
                return

        def give_back() -> None:
            self.queue.give_back([update])
            self._release([update])

        self.ingress.put(give_back)

    # publishing

    async def _publish(self, work: Work) -> None:
        publication = work.publication
        assert publication is not None
        while publication.changes:
            has_waited = await self._admitted()
            if has_waited and self._let_urgent_pass():
                self.breaker.release()  # the trial is theirs
                return
            if has_waited and work.attempts >= FAILURES_BEFORE_PARTING:
                # The breaker's trial should not be this again: it may be what fails while everything else works.
                self.breaker.release()
                if await self._in_parts():
                    return
                await self._pause(FIRST_PAUSE_S)
                continue
            work.attempts += 1
            try:
                await self._try(publication)
                rejected: dict[int, str] = {}
            except UpdatesRejected as error:
                rejected = _reasons(error, publication)
                work.refused |= set(rejected)
            except Exception as error:  # the transport's boundary: an outage, whatever it raises
                self._failed(error)
                if work.attempts % FAILURES_BEFORE_PARTING == 0 and await self._in_parts():
                    return
                await self._pause(min(FIRST_PAUSE_S * 2.0 ** min(self.failures_in_row - 1, 10), 1.0))
                continue
            self._passed(publication)
            self._finish(work, rejected)
            return
        self._finish(work, {})

    def _let_urgent_pass(self) -> bool:
        """Takes CRITICAL updates that came while the breaker was open, to be tried before what has waited for it.

        Their agents have nothing in flight (Law Q4), so each agent's order holds; and where CRITICAL is in flight
        already, that is older and goes first. So at most one batch is taken in whatever many trials.
        """
        if any(update.priority is UpdatePriority.CRITICAL for work in self._works for update in work.batch):
            return False
        limit = max(1, self.processor.max_batch_size)
        taken, urgent = self.ingress.try_run(lambda: self.queue.take(limit, critical_only=True))
        if not taken or not urgent:
            return False
        before = self._works
        self._works = []
        self._add(urgent)
        self._works += before
        return True

    async def _try(self, publication: Publication) -> None:
        publish, timeout_s = self.transport.publish, self.transport_timeout_s
        if (
            type(self.transport) is MemoryTransport
        ):  # ours: it neither hangs nor blocks, and is on every batch's way
            await publish(publication)
            return
        boundary = self._transport_boundary
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

    def _passed(self, publication: Publication) -> None:
        self.breaker.record_success()
        self.failures_in_row = 0
        self._acknowledged = publication

    def _failed(self, error: Exception) -> None:
        self.breaker.record_failure()
        self.failures_in_row += 1
        self.transport_failures += 1
        self.last_error = _cause(error)

    async def _in_parts(self) -> bool:
        """Publishes update by update, to find those that fail alone while others pass.

        What fails is compared with something that passed: in this round, or the last publication that was
        acknowledged (tried again, which changes nothing). If that fails too it is an outage, and nobody's fault.
        Without anything to compare with, what waits in the queue joins in. False: nothing passed.
        """
        works = list(self._works)
        if self._acknowledged is None or not self._acknowledged.changes:
            await self._join_companions()
            works = self._works[
                ::-1
            ]  # companions first: in half-open what failed before should not be the trial
        outcomes: list[dict[int, str]] = [{} for _ in works]
        passed = self._acknowledged if self._acknowledged and self._acknowledged.changes else None
        has_passed = is_out = False
        unproven: list[tuple[dict[int, str], int, str]] = []
        for work, outcome in zip(works, outcomes, strict=True):
            assert work.publication is not None
            work.attempts += 1
            stopped: set[str] = set()
            for place, part in enumerate(work.publication.parts()):
                agent_id = part.changes[0].agent_id
                if is_out or agent_id in stopped or not self.breaker.can_execute():
                    outcome[place] = HELD_BACK
                    stopped.add(agent_id)
                    continue
                try:
                    await self._try(part)
                except UpdatesRejected as error:
                    outcome[place] = _reasons(error, part)[0]
                    work.refused.add(place)
                    stopped.add(agent_id)
                    self.breaker.record_success()
                    has_passed = True
                    continue
                except Exception as error:  # the transport's boundary, as above
                    stopped.add(agent_id)
                    self.breaker.release()
                    outcome[place] = HELD_BACK
                    cause = _cause(error)
                    if passed is None:
                        self._failed(error)
                        unproven.append((outcome, place, cause))
                    elif await self._passes(passed):
                        has_passed = True
                        outcome[place] = cause
                    else:
                        self._failed(error)
                        is_out = True
                    continue
                self._passed(part)
                passed, has_passed = part, True
        if not has_passed:
            return False
        if not is_out:
            for outcome, place, cause in unproven:
                outcome[place] = cause
        places = {id(work): place for place, work in enumerate(self._works)}
        finished = zip(works, outcomes, strict=True)
        # The newest first: what goes back to the front of its chain goes before what followed it.
        for work, outcome in sorted(finished, key=lambda pair: -places[id(pair[0])]):
            self._finish(work, outcome)
        return True

    async def _join_companions(self) -> None:
        agents = {u.agent_id for work in self._works for u in work.batch}
        if len(agents) > 1:
            return
        taken, more = self.ingress.try_run(lambda: self.queue.take(COMPANIONS))
        if taken and more:
            self._add(more)
            for work in self._works:
                if work.publication is None:
                    await self._prepare(work)

    async def _passes(self, publication: Publication) -> bool:
        """Whether what was acknowledged before is acknowledged again: then the transport works."""
        if not self.breaker.can_execute():
            return False
        try:
            await self._try(publication)
        except UpdatesRejected:
            pass
        except Exception:  # the transport's boundary; the caller counts it
            self.breaker.release()
            return False
        self.breaker.record_success()
        self.failures_in_row = 0
        return True

    async def _admitted(self) -> bool:
        """Waits until the breaker lets a call through. True: it had to wait."""
        has_waited = False
        while not self.breaker.can_execute():
            has_waited = True
            # A shorter open time may be set while we wait, which is no event: hence the upper bound.
            await self._pause(min(max(self.breaker.retry_after_s(), 0.001), 0.5))
        return has_waited

    async def _pause(self, seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    # settling, all of it behind the door

    def _finish(self, work: Work, outcome: dict[int, str]) -> None:
        """Hands a batch's outcome in, and lets go of it."""
        self._works.remove(work)
        publication = work.publication
        assert publication is not None
        self.made_bytes += sum([len(change.content) for change in publication.changes])
        if outcome:
            published, work.published = work.published, []
            parts = publication.parts()
            for place, update in enumerate(published):
                cause = outcome.get(place)
                if cause is None:
                    work.published.append(update)
                    continue
                if cause == HELD_BACK:
                    work.held_back.append(update)
                else:
                    work.failed.append((update, "rejected", cause))
                if update.kind is UpdateKind.EVENT and place not in work.refused:
                    self._frozen[id(update)] = update, parts[place]
        if work.left:
            self._catch(work)
        self.delivered += work.published
        busy = {u.agent_id for other in self._works for u in other.batch}
        self.ingress.put(lambda: self._settle(work, busy))

    def _catch(self, work: Work) -> None:
        """What was left behind goes back with its batch where an earlier update of its agent does: behind that."""
        going_back = work.held_back + work.waiting + [update for update, _, _ in work.failed]
        places = {id(update): place for place, update in enumerate(work.batch)}
        for update in list(work.left):
            place = places[id(update)]
            if any(u.agent_id == update.agent_id and places[id(u)] < place for u in going_back):
                self.maker.forget(update)
                work.left.remove(update)
                work.held_back.append(update)

    def _settle(self, work: Work, busy: set[str]) -> None:
        queue = self.queue
        for update in work.published:
            queue.settle(update, DELIVERED)
            if update.waiters:
                for waiter in update.waiters:
                    waiter.delivered()
        if work.failed or work.held_back or work.swallowed or work.waiting:
            self._settle_rest(work)
        self._release([u for u in work.batch if u.agent_id not in busy] if busy else work.batch)

    def _release(self, updates: list[UpdateMessage]) -> None:
        """Lets agents go on, save those with an update that was left behind; what can be taken is due."""
        is_busy = self.maker.is_busy
        if self.maker.left_behind:
            updates = [update for update in updates if not is_busy(update.agent_id)]
        if self.queue.release(updates):
            self.processor.released(self.clock.monotonic())

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
                self.retries += 1
                back.setdefault(update.agent_id, []).append(update)
                waits[update.agent_id] = self.clock.monotonic() + decision.delay_s
        for update in work.held_back:
            back.setdefault(update.agent_id, []).append(update)
        for update in work.waiting:
            back.setdefault(update.agent_id, []).append(update)
            waits[update.agent_id] = self.clock.monotonic() + self.wait_for_part_s
        for agent_id, updates in back.items():
            self.queue.give_back(sorted(updates, key=work.batch.index))
            if agent_id in waits:
                self.queue.back_off(agent_id, waits[agent_id])

    def _decide(self, update: UpdateMessage) -> RetryIn | GiveUp:
        try:
            decision = decide(update.retry_count, update.max_retries, self.retry)
        except (
            Exception
        ) as error:  # a plugin's policy is guarded; whatever comes here must not lose an update
            decision = RetryIn(FALLBACK_DELAY_S, f"{type(self.retry).__name__} failed: {error_text(error)}")
        if isinstance(decision, RetryIn) and decision.complaint and (count := self._complaints.add("retry")):
            logger.warning("retry policy (%d time(s)): %s", count, one_line(decision.complaint))
        return decision

    def bury(self, update: UpdateMessage, reason: str, cause: str) -> None:
        """Keeps an update whose account was closed as dead-lettered, and says so. Behind the door."""
        self.thaw(update)
        if update.payload is None and update.fields is not None:
            update.payload = join_fields(
                {k: v if v is not None else b"null" for k, v in update.fields.items()}
            )
        self.dead_letters.add(update, reason, cause, self.clock.time())
        self.burials[reason] = self.burials.get(reason, 0) + 1
        for waiter in update.waiters or ():
            waiter.failed("dead_lettered", f"{reason}: {cause}")
        if count := self._complaints.add(f"dead: {reason}"):  # an overflow in an outage floods no log
            logger.warning(
                "update of agent %r is dead (%s, %d so far): %s",
                update.agent_id,
                reason,
                count,
                one_line(cause),
            )
        self.on_dead_letter(update, reason, cause)


def _reasons(error: UpdatesRejected, publication: Publication) -> dict[int, str]:
    """The places that were rejected; the one there is, where the transport named none of them."""
    count = len(publication.changes)
    reasons = {place: str(reason) for place, reason in error.reasons.items() if place in range(count)}
    if count == 1 and not reasons:
        return {0: str(next(iter(error.reasons.values()), "rejected"))}
    return reasons


def _cause(error: BaseException) -> str:
    """What the transport raised, in one line."""
    return error_text(error.error if isinstance(error, PartFailed) else error)
