"""How updates end: each of a batch is settled exactly once, or goes back to wait for another try.

An update that failed for what it is spends one of its own retries, backs off, and in the end is dead-lettered.

All of it happens behind the door (`runtime.ingress`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..core.account import CLEARED, DEAD_LETTERED, DELIVERED
from ..core.batching import BatchProcessor
from ..core.codec import join_fields
from ..core.dead_letters import DeadLetters
from ..core.messages import UpdateMessage
from ..core.names import error_text, one_line
from ..core.ports import Clock, RetryPolicy
from ..core.publication import Publication
from ..core.repeats import Repeats
from ..core.retry import FALLBACK_DELAY_S, GiveUp, RetryIn, decide
from .making import Maker
from .work import Work

logger = logging.getLogger(__name__)


class Settling:
    """Settles what was published, gives back what is tried again, and buries what is not."""

    def __init__(
        self,
        processor: BatchProcessor,
        maker: Maker,
        *,
        retry: RetryPolicy,
        dead_letters: DeadLetters,
        clock: Clock,
        wait_for_part_s: float,
        on_dead_letter: Callable[[UpdateMessage, str, str], None],
    ) -> None:
        self.processor = processor
        self.queue = processor.queue
        self.maker = maker
        self.retry = retry
        self.dead_letters = dead_letters
        self.clock = clock
        self.wait_for_part_s = wait_for_part_s
        self.on_dead_letter = on_dead_letter
        # What waits again and keeps its place in a publication; by the update's identity, with its revision.
        self.frozen: dict[int, tuple[UpdateMessage, Publication, int]] = {}
        self.failed_updates = 0
        self.retries = 0
        self.burials: dict[str, int] = {}  # how many updates died, by reason
        self._complaints = Repeats()

    def freeze(self, update: UpdateMessage, publication: Publication) -> None:
        """An update that may have been applied waits again: it keeps its place for as long as it stays what it is.

        A state that is asked for when it is sent does not: what it will say is newer.
        """
        if update.load is None:
            self.frozen[id(update)] = update, publication, update.revision

    def is_frozen(self, update: UpdateMessage) -> bool:
        """Whether an update keeps its place; one that another was composed into is new."""
        kept = self.frozen.get(id(update))
        if kept is not None and kept[2] != update.revision:
            del self.frozen[id(update)]
            return False
        return kept is not None

    def thaw(self, update: UpdateMessage) -> Publication | None:
        """An update leaves the queue, for whatever reason; the publication in which it has a place, if any."""
        kept = self.frozen.pop(id(update), None)
        return None if kept is None else kept[1]

    def settle(self, work: Work, busy: set[str]) -> None:
        """Settles a batch. Agents in `busy` have others in flight, and do not go on yet."""
        queue = self.queue
        for update in work.published:
            queue.settle(update, DELIVERED)
            if update.waiters:
                for waiter in update.waiters:
                    waiter.delivered()
        if work.failed or work.held_back or work.swallowed or work.waiting:
            self._settle_rest(work)
        if self.frozen:
            self._forget_replaced({update.agent_id for update in work.batch} - busy)
        self.release([u for u in work.batch if u.agent_id not in busy] if busy else work.batch)

    def _forget_replaced(self, agents: set[str]) -> None:
        """Of agents with nothing in flight: a full state may have taken the place of one that waited again."""
        for update, _, _ in list(self.frozen.values()):
            if update.agent_id in agents:
                chain = self.queue.chains.get(update.agent_id)
                if chain is None or update not in chain.updates:
                    self.thaw(update)

    def release(self, updates: list[UpdateMessage]) -> None:
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
        except Exception as error:
            # A plugin's policy is guarded; whatever comes here must not lose an update.
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
