"""One batch's way: made ready and frozen, then published until it is settled.

It runs on the pipeline's loop, one batch at a time. An outage spends nobody's retries: the publication stays
as it is and the breaker says when it is tried again. An update that fails for what it is (its load, its
transformer, the transport's rejection, or failing alone while others passed) spends one of its own, backs off,
and in the end is dead-lettered; its agent's later updates wait for it.

An update whose publication was tried keeps its id and place in it, also when it backs off alone: the transport may
have taken it and only the answer was lost, and an event must not arrive twice, nor a state once more after a newer one
(Law Q4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core.batching import BatchProcessor
from ..core.dead_letters import DeadLetters
from ..core.messages import UpdateMessage, UpdatePriority
from ..core.ports import Breaker, Clock, RetryPolicy, Transformer, Transport
from ..core.publication import Change, Publication
from ..exceptions import UpdatesRejected
from .boundary import PartFailed
from .containment import Containment
from .egress import Egress, rejections
from .ingress import Ingress
from .making import LEFT_BEHIND, WAITS, Maker, Outcome
from .parting import in_parts
from .settling import Settling
from .work import HELD_BACK, Work

#: A batch that failed this often is also tried update by update, to find one that fails alone.
FAILURES_BEFORE_PARTING = 3

#: How many waiting updates join a batch of one agent for that.
COMPANIONS = 5

#: While the breaker is closed, a failed publish is tried again after this, doubled with each failure in a row.
FIRST_PAUSE_S = 0.05

#: What waits for a part that is off looks again after this, where the part is not tried by itself.
WAIT_FOR_PART_S = 60.0


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
        self.maker = Maker(
            transformers,
            containment=containment,
            hook_timeout_s=hook_timeout_s,
            max_update_bytes=max_update_bytes,
            returned=self._returned,
        )
        self.egress = Egress(transport, breaker, containment, transport_timeout_s)
        self.settling = Settling(
            processor,
            self.maker,
            retry=retry,
            dead_letters=dead_letters,
            clock=clock,
            wait_for_part_s=containment.config.retry_after_s or WAIT_FOR_PART_S,
            on_dead_letter=on_dead_letter,
        )
        self.clock = clock
        self.batch_ids = batch_ids
        self.delivered: list[UpdateMessage] = []  # by the last call of `deliver` or `resume`
        self.made_bytes = 0  # of content, in what that call had published
        self._works: list[Work] = []

    @property
    def in_flight(self) -> list[UpdateMessage]:
        """What was taken from the queue and is not settled."""
        updates = [update for work in self._works for update in work.batch] + self.maker.left_behind
        return list({id(update): update for update in updates}.values())

    def on_new_loop(self) -> None:
        """The pipeline starts on a loop: what is bound to an earlier one is made anew."""
        self.egress.on_new_loop()
        self.maker.give_up()

    def breaker_changed(self) -> None:
        """The breaker was reset or reconfigured: look again. On the loop."""
        self.egress.look_again()

    def part_switched(self) -> None:
        """A part is off or on: what waits for one looks again. Any thread."""

        def look_again() -> None:
            if self.queue.wake_up(float("inf")):
                self.processor.released(self.clock.monotonic())

        self.ingress.put(look_again)

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
        """Takes a batch in. What is frozen keeps its own publication; what follows it of its agent is held back."""
        settling = self.settling
        if not settling.frozen:
            self._works.append(Work(batch))
            return
        rest: list[UpdateMessage] = []
        seen: set[str] = set()
        for update in batch:
            if settling.is_frozen(update) and update.agent_id not in seen:
                self._works.append(Work([update], settling.thaw(update), [update], attempts=1))
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
        frozen, is_frozen = self.settling.frozen, self.settling.is_frozen
        # What follows an update of its agent that did not come through waits for it.
        stopped = {u.agent_id for other in self._works if other is not work for u in other.batch}
        for update, made in zip(work.batch, outcomes, strict=True):
            if (stopped and update.agent_id in stopped) or (frozen and is_frozen(update)):
                stopped.add(update.agent_id)  # what is frozen goes alone, under the id it was tried with
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
            self.settling.release([update])

        self.ingress.put(give_back)

    # publishing

    async def _publish(self, work: Work) -> None:
        publication = work.publication
        assert publication is not None
        egress = self.egress
        while publication.changes:
            has_waited = await egress.admitted()
            if has_waited and self._let_urgent_pass():
                egress.breaker.release()  # the trial is theirs
                return
            if has_waited and work.attempts >= FAILURES_BEFORE_PARTING:
                # The breaker's trial should not be this again: it may be what fails while everything else works.
                egress.breaker.release()
                if await self._in_parts():
                    return
                await egress.pause(FIRST_PAUSE_S)
                continue
            work.attempts += 1
            try:
                await egress.publish(publication)
                rejected: dict[int, str] = {}
            except UpdatesRejected as error:
                rejected = rejections(error, publication)
                work.refused |= set(rejected)
            except Exception:  # the transport's boundary: an outage, whatever it raises
                egress.failed()
                if work.attempts % FAILURES_BEFORE_PARTING == 0 and await self._in_parts():
                    return
                await egress.pause(min(FIRST_PAUSE_S * 2.0 ** min(egress.failures_in_row - 1, 10), 1.0))
                continue
            egress.passed(publication)
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

    async def _in_parts(self) -> bool:
        """Publishes what is in flight update by update (`runtime.parting`). False: nothing passed.

        Without anything to compare with, what waits in the queue joins in.
        """
        works = list(self._works)
        acknowledged = self.egress.acknowledged
        if acknowledged is None or not acknowledged.changes:
            await self._join_companions()
            # Companions first: in half-open what failed before should not be the trial.
            works = self._works[::-1]
        outcomes = await in_parts(works, self.egress)
        if outcomes is None:
            return False
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

    # handing the outcome in

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
                if place not in work.refused:
                    self.settling.freeze(update, parts[place])
        if work.left:
            self._catch(work)
        self.delivered += work.published
        busy = {u.agent_id for other in self._works for u in other.batch}
        self.ingress.put(lambda: self.settling.settle(work, busy))

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
