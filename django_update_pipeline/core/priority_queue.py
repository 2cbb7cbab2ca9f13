"""The bounded, conflating priority queue: what waits, in which order it leaves.

It belongs to whoever holds the door's lock (`runtime.ingress`); it takes no locks and reads no clock.

Laws (design, section 6):

- Law Q1 (chain): an agent's waiting updates keep the order of acceptance; one that is more urgent lends its
  deadline to all that wait before it. Priority chooses the deadline, never the account.
- Law Q2 (composition): a state update composes into the waiting one of the same agent and channels, in its
  place: replace and remove win, merge overlays, merge after remove is a replace. Events never compose.
  Where one for overlapping channels waits in between, the order of the two holds in the channels they share:
  it takes the newer content too if it goes to no further channel, else the newer one waits behind it.
- Law Q3 (choice): CRITICAL first, then earliest deadline, one place in twenty for the rest; what is taken
  of a chain is always its prefix.
- Law Q4 (frozen): the agents of a batch that is out are held: their later updates wait, and compose among
  themselves only.
- Law Q5 is that of `core.account`.

Deadlines are earliest-deadline-first keys, not timers: LOW's lies four NORMAL windows away, so it gains on
newer, more urgent updates as it waits, and nothing starves.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count

from .account import ACCEPTED, CLEARED, CONFLATED, DEAD_LETTERED, DELIVERED, Account
from .codec import split_object
from .messages import FULL_STATE, PRIORITIES, Channels, UpdateKind, UpdateMessage, UpdatePriority
from .retry import RetryQueue

_EVENT, _MERGE, _REMOVE, _REPLACE = UpdateKind.EVENT, UpdateKind.MERGE, UpdateKind.REMOVE, UpdateKind.REPLACE

#: One place in this many goes to what is not CRITICAL, however much of that waits.
SHARE_OF_THE_REST = 20

#: The heaps keep so many stale places more than there are chains before they are rebuilt.
_STALE_PLACES = 1000


class Chain:
    """One agent's waiting updates, oldest first. `entry` is its valid place in a heap, if any."""

    __slots__ = ("agent_id", "entry", "held", "is_backing_off", "others", "state", "updates")

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.updates: deque[UpdateMessage] = deque()
        self.entry: tuple[float, int, Chain] | None = None
        self.held = False  # some of its updates are out in a batch
        self.is_backing_off = False  # its first update failed
        self.state: UpdateMessage | None = None  # the waiting state update
        self.others: dict[Channels, UpdateMessage] | None = None  # those for other sets of channels

    def waiting_state(self, channels: Channels) -> UpdateMessage | None:
        """The waiting state update for these channels, if any."""
        state = self.state
        if state is None:
            return None
        if state.channels == channels:
            return state
        return self.others.get(channels) if self.others is not None else None

    def remember(self, update: UpdateMessage) -> None:
        """Notes a state update that now waits: the newest one for its channels."""
        if self.state is None or self.state.channels == update.channels:
            self.state = update
        elif self.others is None:
            self.others = {update.channels: update}
        else:
            self.others[update.channels] = update

    def forget(self, update: UpdateMessage) -> None:
        """Notes that a state update waits no longer."""
        if self.state is update:
            self.state = self.others.popitem()[1] if self.others else None
        elif self.others is not None and self.others.get(update.channels) is update:
            del self.others[update.channels]


def overlay(older: UpdateMessage, newer: UpdateMessage) -> None:
    """Makes `older` say what `older` and then `newer` would have said (Law Q2); both are state updates."""
    older.revision += 1
    if newer.kind is not _MERGE:
        older.kind = newer.kind
        older.payload = newer.payload
        older.fields = None if newer.fields is None else dict(newer.fields)
        older.load = newer.load
        older.update_type = newer.update_type
    else:
        assert newer.fields is not None
        if older.kind is _REMOVE:
            older.kind = _REPLACE
            older.update_type = FULL_STATE  # it says the whole agent now
            older.payload = None
            older.fields = {}
        elif older.fields is None:
            older.fields = {} if older.payload is None else dict(split_object(older.payload))
            older.payload = None
        if older.kind is _MERGE or older.load is not None:
            older.fields.update(newer.fields)
        else:
            for key, text in newer.fields.items():
                if text is None:
                    older.fields.pop(key, None)
                else:
                    older.fields[key] = text


def compose(older: UpdateMessage, newer: UpdateMessage) -> None:
    """Puts `newer` in the place of `older`, which then says what both said, one after the other.

    What identifies the result (priority, times, retries) is the newer one's, who waits for it are both's.
    """
    overlay(older, newer)
    older.priority = newer.priority
    older.accepted_at = newer.accepted_at
    older.timestamp = newer.timestamp
    older.retry_count = newer.retry_count
    older.max_retries = newer.max_retries
    if newer.waiters:
        older.waiters = newer.waiters if older.waiters is None else older.waiters + newer.waiters


class PriorityQueue:
    """All chains, their order, their bounds' gauges and the account."""

    def __init__(self, windows_s: tuple[float, float, float, float] = (0.0, 0.01, 0.02, 0.08)) -> None:
        self.account = Account()
        self._cells = self.account.cells
        self.chains: dict[str, Chain] = {}
        self.windows_s = windows_s
        self.event_count = 0
        self.event_bytes = 0
        self.waiting_bytes = 0
        self._critical: list[tuple[float, int, Chain]] = []
        self._rest: list[tuple[float, int, Chain]] = []
        self._backing_off: RetryQueue[Chain] = RetryQueue()
        self._events: deque[UpdateMessage] = deque()  # by acceptance, those taken included until they surface
        self._sequence = count(1)
        self._latest = float("-inf")
        self._places = 0

    # in

    def accept(self, update: UpdateMessage) -> bool:
        """Takes an update in. True: something new can be taken now (not merely conflated or held)."""
        cells = self._cells
        priority = update.priority
        cells[priority * 5 + ACCEPTED] += 1
        base = update.accepted_at
        if base < self._latest:  # two callers' clocks against their order at the door: the door's counts
            base = self._latest
        else:
            self._latest = base
        deadline = base + self.windows_s[priority]
        rank = 1 if priority else 0
        agent_id = update.agent_id
        kind = update.kind
        chain = self.chains.get(agent_id)
        if chain is None:
            chain = self.chains[agent_id] = Chain(agent_id)
        elif kind is _REPLACE and (waiting := chain.state) is not None and not chain.others:
            payload = update.payload
            replaced = waiting.payload
            updates = chain.updates
            if (
                payload is not None
                and replaced is not None
                and updates[-1] is waiting
                and waiting.channels == update.channels
                and (rank > waiting.rank or (rank == waiting.rank and deadline >= waiting.deadline))
            ):
                # The commonest case of a busy simulation, written out: a full state takes a full state's place.
                cells[waiting.priority * 5 + CONFLATED] += 1
                self.waiting_bytes += len(payload) - len(replaced)
                update.seq = waiting.seq
                update.rank = waiting.rank
                update.deadline = waiting.deadline
                if waiting.waiters:
                    update.waiters = waiting.waiters + (update.waiters or [])
                updates[-1] = chain.state = update
                return False
        if kind is not _EVENT:
            waiting = chain.waiting_state(update.channels)
            if waiting is not None and (not chain.others or self._keeps_order(chain, waiting, update)):
                self._conflate(waiting, update)
                if (rank, deadline) < (waiting.rank, waiting.deadline):
                    self._promote(chain, chain.updates.index(waiting), rank, deadline)
                    return chain.entry is not None
                return False
            chain.remember(update)
            size = update.size_bytes()
        else:
            size = len(update.payload) if update.payload is not None else 0
            self.event_count += 1
            self.event_bytes += size
            self._events.append(update)
        self.waiting_bytes += size
        update.seq = next(self._sequence)
        update.rank = rank
        update.deadline = deadline
        updates = chain.updates
        updates.append(update)
        if len(updates) == 1:
            if not chain.held and not chain.is_backing_off:
                self._enter(chain)
        else:
            before = updates[-2]
            if (rank, deadline) < (before.rank, before.deadline):
                self._promote(chain, len(updates) - 1, rank, deadline)
        return chain.entry is not None

    def _keeps_order(self, chain: Chain, waiting: UpdateMessage, newer: UpdateMessage) -> bool:
        """Whether `newer` may be composed into `waiting`, ahead of the states that wait behind that.

        A state behind it that shares a channel would undo it there, so it gets the newer content as well; if
        it also goes to a channel that `newer` does not, nothing is done and the answer is no. O(chain) where
        there is such a state, else O(sets of channels).
        """
        others = chain.others
        assert others is not None
        assert chain.state is not None
        channels = set(newer.channels)
        for state in (chain.state, *others.values()):
            if state.seq > waiting.seq and not channels.isdisjoint(state.channels):
                break
        else:
            return True
        overlapping = []
        for state in reversed(chain.updates):
            if state is waiting:
                break
            if state.kind is not _EVENT and not channels.isdisjoint(state.channels):
                if not channels.issuperset(state.channels):
                    return False
                overlapping.append(state)
        for state in overlapping:
            self.waiting_bytes -= state.size_bytes()
            overlay(state, newer)
            self.waiting_bytes += state.size_bytes()
        return True

    def _conflate(self, waiting: UpdateMessage, newer: UpdateMessage) -> None:
        """Composes `newer` into `waiting`, in its place; the older one's account is closed."""
        self.account.cells[waiting.priority * 5 + CONFLATED] += 1
        before = waiting.size_bytes()
        compose(waiting, newer)
        self.waiting_bytes += waiting.size_bytes() - before

    def _promote(self, chain: Chain, index: int, rank: int, deadline: float) -> None:
        """Lends a more urgent deadline to the chain's updates up to `index` (Law Q1)."""
        updates = chain.updates
        for place in range(index, -1, -1):
            update = updates[place]
            if place != index and (update.rank, update.deadline) <= (rank, deadline):
                return
            update.rank = rank
            update.deadline = deadline
        if chain.entry is not None:
            self._enter(chain)

    def _enter(self, chain: Chain) -> None:
        """Gives a chain the place its first update asks for; an older place becomes stale."""
        head = chain.updates[0]
        chain.entry = (head.deadline, head.seq, chain)
        heappush(self._rest if head.rank else self._critical, chain.entry)

    # out

    def take(self, limit: int, *, critical_only: bool = False) -> list[UpdateMessage]:
        """Takes the next `limit` updates in the order of Law Q3 and holds their agents (Law Q4).

        With `critical_only` those that are CRITICAL, or promoted to it, and nothing else.
        """
        batch: list[UpdateMessage] = []
        touched: set[Chain] = set()
        while len(batch) < limit:
            chain = self._next_of((self._critical,)) if critical_only else self._next_chain()
            if chain is None:
                break
            update = chain.updates.popleft()
            self._left(chain, update)
            batch.append(update)
            touched.add(chain)
            if chain.updates:
                self._enter(chain)
        for chain in touched:
            chain.held = True
            chain.entry = None
        self._sweep()
        return batch

    def _next_chain(self) -> Chain | None:
        self._places += 1
        first, second = self._critical, self._rest
        if self._places % SHARE_OF_THE_REST == 0:
            first, second = second, first
        return self._next_of((first, second))

    @staticmethod
    def _next_of(heaps: tuple[list[tuple[float, int, Chain]], ...]) -> Chain | None:
        for heap in heaps:
            while heap:
                entry = heap[0]
                chain = entry[2]
                heappop(heap)
                if chain.entry is entry:
                    return chain
        return None

    def _sweep(self) -> None:
        """Rebuilds the heaps once most of their places are stale: an outage with overflow makes many."""
        if len(self._critical) + len(self._rest) > 2 * len(self.chains) + _STALE_PLACES:
            for heap in (self._critical, self._rest):
                heap[:] = [entry for entry in heap if entry[2].entry is entry]
                heapify(heap)

    def _left(self, chain: Chain, update: UpdateMessage) -> None:
        """Keeps the gauges when an update leaves its chain, for whatever reason."""
        size = update.size_bytes()
        self.waiting_bytes -= size
        if update.kind is _EVENT:
            self.event_count -= 1
            self.event_bytes -= size
            update.seq = -update.seq
            events = self._events
            while events and events[0].seq < 0:
                events.popleft()
            if len(events) > 2 * self.event_count + 1000:
                # An event that was given back and not yet passed is in there twice.
                self._events = deque(dict.fromkeys(event for event in events if event.seq >= 0))
        else:
            chain.forget(update)

    def has_ready(self) -> bool:
        """Whether `take` would return something."""
        for heap in (self._critical, self._rest):
            while heap:
                if heap[0][2].entry is heap[0]:
                    return True
                heappop(heap)
        return False

    # settling a batch that was taken

    def delivered(self, batch: list[UpdateMessage]) -> None:
        """Closes the account of acknowledged updates and releases their agents."""
        cells = self.account.cells
        for update in batch:
            cells[update.priority * 5 + DELIVERED] += 1
        self.release(batch)

    def settle(self, update: UpdateMessage, term: int) -> None:
        """Closes one taken update's account with DELIVERED, DEAD_LETTERED or CLEARED; `release` follows."""
        self.account.add(update.priority, term)

    def release(self, batch: list[UpdateMessage]) -> bool:
        """Lets the agents of a batch go on. True: something that waited for them can be taken now."""
        has_more = False
        for update in batch:
            chain = self.chains.get(update.agent_id)
            if chain is None or not chain.held:
                continue
            chain.held = False
            if not chain.updates:
                if not chain.is_backing_off:
                    del self.chains[chain.agent_id]
            elif not chain.is_backing_off:
                self._enter(chain)
                has_more = True
        return has_more

    def give_back(self, updates: list[UpdateMessage]) -> None:
        """Puts taken updates back at the front of their chains, in order (before `release`).

        A state that a newer one waits behind composes with it and is conflated.
        """
        for update in reversed(updates):
            chain = self.chains[update.agent_id]
            if update.kind is _EVENT:
                update.seq = -update.seq  # its place among equals is the one it had
                self.event_count += 1
                self.event_bytes += update.size_bytes()
                self._events.appendleft(update)
            else:
                newer = chain.waiting_state(update.channels)
                if newer is None:
                    chain.remember(update)
                elif self._is_first_state(chain, newer):
                    chain.updates.remove(newer)
                    chain.forget(newer)
                    self.waiting_bytes -= newer.size_bytes()
                    self.account.add(update.priority, CONFLATED)
                    compose(update, newer)
                    if (newer.rank, newer.deadline) < (update.rank, update.deadline):
                        update.rank, update.deadline = newer.rank, newer.deadline
                    chain.remember(update)
            self.waiting_bytes += update.size_bytes()
            if chain.updates:
                following = chain.updates[0]
                if (following.rank, following.deadline) < (update.rank, update.deadline):
                    update.rank, update.deadline = following.rank, following.deadline
            chain.updates.appendleft(update)

    def _is_first_state(self, chain: Chain, newer: UpdateMessage) -> bool:
        """Whether no state for a channel of `newer` waits before it: then it may go to the front."""
        channels = set(newer.channels)
        for state in chain.updates:
            if state is newer:
                break
            if state.kind is not _EVENT and not channels.isdisjoint(state.channels):
                return False
        return True

    def back_off(self, agent_id: str, until: float) -> None:
        """Holds an agent's chain until a monotonic time."""
        chain = self.chains[agent_id]
        chain.is_backing_off = True
        chain.entry = None
        self._backing_off.discard(agent_id)
        self._backing_off.push(chain, until, key=agent_id)

    def wake_up(self, now: float) -> bool:
        """Ends the back-offs that are due. True: something can be taken now."""
        woken = False
        for chain in self._backing_off.pop_due(now):
            chain.is_backing_off = False
            if chain.held:
                continue
            if chain.updates:
                self._enter(chain)
                woken = True
            else:
                del self.chains[chain.agent_id]
        return woken

    def next_wake_up(self) -> float | None:
        """When the next back-off ends, in monotonic seconds."""
        return self._backing_off.next_due()

    # giving up what waits

    def drop_oldest_event(self) -> UpdateMessage | None:
        """Takes the oldest waiting event out, dead-lettered; the caller keeps it and says why."""
        if not self._events:
            return None
        update = self._events.popleft()  # it waits: those at the front that were taken are passed by `_left`
        chain = self.chains[update.agent_id]
        was_head = chain.updates[0] is update
        chain.updates.remove(update)
        self._left(chain, update)
        self.account.add(update.priority, DEAD_LETTERED)
        self._after_removal(chain, was_head)
        return update

    def clear(self, priority: UpdatePriority | None = None) -> list[UpdateMessage]:
        """Clears what waits (of one priority, or all): counted as cleared. What is out in a batch stays."""
        cleared: list[UpdateMessage] = []
        for chain in list(self.chains.values()):
            gone = [u for u in chain.updates if priority is None or u.priority == priority]
            if not gone:
                continue
            was_head = chain.updates[0] is gone[0]
            keep = [u for u in chain.updates if not (priority is None or u.priority == priority)]
            chain.updates = deque(keep)
            for update in gone:
                self._left(chain, update)
                self.account.add(update.priority, CLEARED)
            self._after_removal(chain, was_head)
            cleared += gone
        return cleared

    def _after_removal(self, chain: Chain, was_head: bool) -> None:
        if not chain.updates:
            chain.entry = None
            if not chain.held and not chain.is_backing_off:
                del self.chains[chain.agent_id]
        elif was_head and chain.entry is not None:
            self._enter(chain)
        self._sweep()

    # gauges

    def pending_by_priority(self) -> dict[UpdatePriority, int]:
        """Counts what waits, update by update; a batch that is out is not in here. O(n)."""
        counts = dict.fromkeys(PRIORITIES, 0)
        for chain in list(self.chains.values()):
            for update in list(chain.updates):
                counts[update.priority] += 1
        return counts

    def oldest_accepted_at(self) -> float | None:
        """When the longest waiting update was accepted, in monotonic seconds. O(n)."""
        waiting = [u for chain in list(self.chains.values()) for u in list(chain.updates)]
        return min((u.accepted_at for u in waiting), default=None)
