"""Laws Q1 to Q5 of the queue: a state machine beside a model of plain lists, and properties of its parts.

Every update carries its number as content, so what is seen tells which update it came from. The model never
composes: it keeps what was accepted, in order, and asks whether what comes out can be explained by it.
"""

from __future__ import annotations

import json
from itertools import cycle, islice, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from django_update_pipeline.core.account import CLEARED, DEAD_LETTERED, DELIVERED
from django_update_pipeline.core.batching import AdaptiveBatching
from django_update_pipeline.core.config import BatchingConfig
from django_update_pipeline.core.messages import PRIORITIES, UpdateKind, UpdateMessage, UpdatePriority
from django_update_pipeline.core.priority_queue import SHARE_OF_THE_REST, PriorityQueue, compose

REPLACE, MERGE, REMOVE, EVENT = UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE, UpdateKind.EVENT
AGENTS = ("x", "y", "z")
FIELDS = ("f", "g", "h")
TERMS = ("accepted", "delivered", "conflated", "dead_lettered", "cleared")
CHANNELS = ("a", "b", "c")
CHANNEL_SETS = (("a",), ("b",), ("a", "b"), ("b", "c"), ("a", "b", "c"))

agents = st.sampled_from(AGENTS)
priorities = st.sampled_from(PRIORITIES)
kinds = st.sampled_from(UpdateKind)
channel_sets = st.sampled_from(CHANNEL_SETS)
field_sets = st.frozensets(st.sampled_from(FIELDS))
# Multiples of 1/1024 s, so that sums are exact and deadlines often tie.
ticks = st.integers(-3, 30).map(lambda n: n / 1024)

State = dict[str, int] | None  # an agent in a channel: field to the number that set it; None: no such agent


class Waiter:
    """Stands for one accepted update; a composed one carries all of those it is made of."""

    def __init__(self, number: int) -> None:
        self.number = number

    def delivered(self) -> None: ...

    def failed(self, outcome: str, reason: str) -> None: ...


def make(
    number: int,
    agent: str,
    kind: UpdateKind,
    priority: UpdatePriority,
    channels: tuple[str, ...],
    sets: frozenset[str] = frozenset(),
    unsets: frozenset[str] = frozenset(),
    at: float = 0.0,
) -> UpdateMessage:
    content = dict.fromkeys(sorted(sets), number)
    update = UpdateMessage(agent, kind.name, priority=priority, kind=kind, channels=channels, accepted_at=at)
    if kind is MERGE:
        fields: dict[str, bytes | None] = dict.fromkeys(sets, b"%d" % number)
        fields |= dict.fromkeys(unsets - sets)
        update.fields = fields
    elif kind is EVENT:
        update.payload = b'{"n":%d}' % number
    elif kind is REPLACE:
        update.payload = json.dumps(content).encode()
    update.waiters = [Waiter(number)]
    return update


def applied(state: State, update: UpdateMessage) -> State:
    """What a store holds after an update."""
    if update.kind is EVENT:
        return state
    if update.kind is REMOVE:
        return None
    if update.kind is REPLACE:
        return update.data
    assert update.fields is not None
    after = dict(state or {})
    for key, text in update.fields.items():
        if text is None:
            after.pop(key, None)
        else:
            after[key] = json.loads(text)
    return after


def numbers(update: UpdateMessage) -> list[int]:
    assert update.waiters is not None
    return [waiter.number for waiter in update.waiters]  # type: ignore[attr-defined]


def value(state: State, field: str) -> int | None:
    """A field's value; the pseudo-field `exists` tells an agent without fields from none."""
    if field == "exists":
        return None if state is None else 0
    return None if state is None else state.get(field)


class Agent:
    """What the model knows of one agent: the states each channel should go through, and what has been seen."""

    def __init__(self) -> None:
        self.history: dict[str, list[State]] = {name: [None] for name in CHANNELS}
        self.numbers: dict[str, list[int]] = {name: [0] for name in CHANNELS}
        self.seen: dict[str, State] = dict.fromkeys(CHANNELS)
        self.reached = {(name, field): 0 for name in CHANNELS for field in (*FIELDS, "exists")}
        self.events: list[int] = []  # not settled yet, in order of acceptance
        self.tainted = False  # a state was cleared or dead-lettered: what it should look like is undefined

    def accepted(self, number: int, update: UpdateMessage) -> None:
        if update.kind is EVENT:
            self.events.append(number)
            return
        for name in update.channels:
            self.history[name].append(applied(self.history[name][-1], update))
            self.numbers[name].append(number)

    def delivered(self, update: UpdateMessage) -> None:
        """The content goes on: each field moves forward only, and an event finds the state queued before it."""
        if update.kind is EVENT:
            (number,) = numbers(update)
            assert self.events.pop(0) == number, "events of one agent are delivered in order, each once"
            for name in CHANNELS:
                before = max(i for i, n in enumerate(self.numbers[name]) if n < number)
                self._reaches(name, before)
            return
        for name in update.channels:
            self.seen[name] = applied(self.seen[name], update)
            self._reaches(name, 0)

    def _reaches(self, name: str, at_least: int) -> None:
        if self.tainted:
            return
        for field in (*FIELDS, "exists"):
            now = value(self.seen[name], field)
            first = max(self.reached[name, field], at_least)
            for index in range(first, len(self.history[name])):
                if value(self.history[name][index], field) == now:
                    self.reached[name, field] = index
                    break
            else:
                raise AssertionError(f"{field} in {name} is {now}: went back, or behind an event")

    def converged(self) -> None:
        if not self.tainted:
            for name in CHANNELS:
                assert self.seen[name] == self.history[name][-1]


class QueueMachine(RuleBasedStateMachine):
    """The queue, driven as the runtime drives it, with batches out and agents that back off."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = PriorityQueue()
        self.now = 1.0
        self.latest = float("-inf")
        self.number = 0
        self.places = 0
        self.windows = [0.0, 0.01, 0.02, 0.08]
        self.agents = {name: Agent() for name in AGENTS}
        self.terms = {priority: dict.fromkeys(TERMS, 0) for priority in PRIORITIES}
        self.priority: dict[int, UpdatePriority] = {}
        self.out: list[list[UpdateMessage]] = []
        self.backing_off: dict[str, float] = {}
        # Each waiting update's key by Law Q1, by identity: what it brought itself or was lent.
        self.keys: dict[int, tuple[int, float]] = {}
        self.loses_state = False
        self.event_came_back = False

    @initialize(loses_state=st.booleans())
    def choose(self, loses_state: bool) -> None:
        """In half of the histories no state is lost, so that contents can be compared to the end."""
        self.loses_state = loses_state

    # in

    def chain(self, agent: str) -> list[UpdateMessage]:
        chain = self.queue.chains.get(agent)
        return list(chain.updates) if chain is not None else []

    @rule(
        agent=agents,
        kind=kinds,
        priority=priorities,
        channels=channel_sets,
        sets=field_sets,
        unsets=field_sets,
        tick=ticks,
    )
    def accept_any(self, agent, kind, priority, channels, sets, unsets, tick) -> None:
        self.accept(agent, kind, priority, channels, sets, unsets, tick)

    @rule(kind=kinds, priority=priorities, sets=field_sets, unsets=field_sets)
    def accept_more_of_one_agent(self, kind, priority, sets, unsets) -> None:
        self.accept("x", kind, priority, ("a",), sets, unsets, 0.0)

    @rule(kind=kinds, channels=channel_sets, sets=field_sets, unsets=field_sets)
    def accept_for_other_channels(self, kind, channels, sets, unsets) -> None:
        self.accept("x", kind, UpdatePriority.NORMAL, channels, sets, unsets, 0.001)

    def accept(self, agent, kind, priority, channels, sets, unsets, tick) -> None:
        """Law Q1: the newest lends its key to all before it. Law Q2: a state never grows a chain for nothing."""
        self.number += 1
        self.now = max(self.now, self.now + tick)
        update = make(self.number, agent, kind, priority, channels, sets, unsets, self.now + min(tick, 0))
        self.latest = max(self.latest, update.accepted_at)
        before = self.chain(agent)
        numbers_before = [numbers(one) for one in before]
        was_ready = agent in self.ready()
        self.agents[agent].accepted(self.number, update)
        said = self.queue.accept(update)
        self.terms[priority]["accepted"] += 1
        self.priority[self.number] = priority
        after = self.chain(agent)
        holder = next(i for i, u in enumerate(after) if self.number in numbers(u))
        if len(after) == len(before):
            assert kind is not EVENT
            assert after[holder].channels == channels
            # In its place; which of the two objects stays there is the queue's own affair.
            composed = after[holder]
            self.keys[id(composed)] = self.keys.pop(id(before[holder]))
            assert numbers(composed)[:-1] == numbers_before[holder]
            assert numbers(composed)[-1] == self.number
            self.conflated(numbers(composed)[-2])
        else:
            assert after[:-1] == before
            assert holder == len(before)
            if kind is not EVENT:
                same = [u for u in before if u.kind is not EVENT and u.channels == channels]
                if same:  # only for the sake of a state in between that goes to other channels too
                    later = before[before.index(same[-1]) + 1 :]
                    assert any(
                        u.kind is not EVENT
                        and set(u.channels) & set(channels)
                        and set(u.channels) - set(channels)
                        for u in later
                    )
            self.keys[id(after[-1])] = (1, float("inf"))
        key = (int(priority is not UpdatePriority.CRITICAL), self.latest + self.windows[priority])
        lent = False
        for place in range(holder + 1):
            if key < self.keys[id(after[place])]:
                self.keys[id(after[place])] = key
                lent = True
        if agent in self.ready():
            assert said or not lent or was_ready, "what can be taken sooner than before is told"
        else:
            assert not said, "nothing can be taken of an agent that is held"

    def conflated(self, number: int) -> None:
        self.terms[self.priority[number]]["conflated"] += 1

    # out

    def ready(self) -> list[str]:
        """The agents of which something can be taken."""
        held = {update.agent_id for batch in self.out for update in batch} | set(self.backing_off)
        return [agent for agent in AGENTS if agent not in held and self.chain(agent)]

    def next_of(self, chains: dict[str, list[UpdateMessage]]) -> UpdateMessage:
        """Law Q3, spelled out."""
        self.places += 1
        heads = [chain[0] for chain in chains.values() if chain]
        critical = [u for u in heads if self.keys[id(u)][0] == 0]
        rest = [u for u in heads if self.keys[id(u)][0] == 1]
        first = rest or critical if self.places % SHARE_OF_THE_REST == 0 else critical or rest
        return min(first, key=lambda u: (self.keys[id(u)][1], numbers(u)[0]))

    @rule(limit=st.integers(1, 6))
    def take(self, limit: int) -> None:
        """Law Q3: CRITICAL first, then earliest deadline, one place in twenty for the rest, prefixes only."""
        chains = {agent: self.chain(agent) for agent in self.ready()}
        expected = []
        while any(chains.values()) and len(expected) < limit:
            update = self.next_of(chains)
            expected.append(chains[update.agent_id].pop(0))
        if len(expected) < limit:
            self.places += 1  # the look that found nothing
        batch = self.queue.take(limit)
        assert [numbers(u) for u in batch] == [numbers(u) for u in expected]
        assert all(a is b for a, b in zip(batch, expected, strict=True))
        if batch:
            self.out.append(batch)
            self.frozen = [[(u, u.payload, dict(u.fields or {}), u.kind) for u in b] for b in self.out]

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """A batch comes back: all delivered, or each update delivered, dead, swallowed or tried again."""
        batch = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        if data.draw(st.booleans()):
            for update in batch:
                self.gone(update, "delivered")
            self.queue.delivered(batch)
            return
        back: list[UpdateMessage] = []
        again: set[str] = set()
        for update in batch:
            outcome = data.draw(st.sampled_from(["delivered", "dead_lettered", "cleared", "again"]))
            if update.kind is not EVENT and not self.loses_state and outcome != "again":
                outcome = "delivered"
            if update.agent_id in again:
                outcome = "again"  # what follows a held back update of its agent is held back as well
            if outcome == "again":
                again.add(update.agent_id)
                back.append(update)
                continue
            term = {"delivered": DELIVERED, "dead_lettered": DEAD_LETTERED, "cleared": CLEARED}[outcome]
            self.queue.settle(update, term)
            self.gone(update, outcome)
        self.give_back(back)
        for agent in sorted(again):
            if data.draw(st.booleans()):
                self.backing_off[agent] = self.now + data.draw(st.integers(1, 5)) / 1024
                self.queue.back_off(agent, self.backing_off[agent])
        self.queue.release(batch)

    def give_back(self, back: list[UpdateMessage]) -> None:
        """Law Q2: a state that comes back composes with the newer one that waits, at the front of its chain."""
        made_of = {id(u): numbers(u) for u in back}
        waiting = {agent: self.chain(agent) for agent in AGENTS}
        self.queue.give_back(back)
        self.event_came_back |= any(u.kind is EVENT for u in back)
        for agent in AGENTS:
            mine = [u for u in back if u.agent_id == agent]
            if not mine:
                continue
            after = self.chain(agent)
            assert after[: len(mine)] == mine, "at the front, in order"
            rest = [u for u in waiting[agent] if u in after]
            assert after[len(mine) :] == rest
            for update in mine:
                for number in numbers(update)[len(made_of[id(update)]) :]:
                    assert number  # the newer one's, whose account goes on
                if numbers(update) != made_of[id(update)]:
                    self.conflated(made_of[id(update)][-1])
            behind = [self.keys[id(u)] for u in waiting[agent]]
            for update in reversed(mine):
                behind.append(self.keys[id(update)])
                self.keys[id(update)] = min(behind)

    def gone(self, update: UpdateMessage, term: str) -> None:
        self.terms[update.priority][term] += 1
        agent = self.agents[update.agent_id]
        if term == "delivered":
            agent.delivered(update)
        elif update.kind is EVENT:
            agent.events.remove(numbers(update)[0])
        else:
            agent.tainted = True

    @rule(tick=st.integers(0, 5).map(lambda n: n / 1024))
    def wake_up(self, tick: float) -> None:
        self.now += tick
        was = set(self.ready())
        due = {agent for agent, until in self.backing_off.items() if until <= self.now}
        said = self.queue.wake_up(self.now)
        for agent in due:
            del self.backing_off[agent]
        assert said is bool(set(self.ready()) - was)
        if self.backing_off:
            told = self.queue.next_wake_up()
            assert told is not None
            assert told <= min(self.backing_off.values())

    # giving up

    @rule()
    def drop_oldest_event(self) -> None:
        waiting = [u for agent in AGENTS for u in self.chain(agent) if u.kind is EVENT]
        dropped = self.queue.drop_oldest_event()
        if not waiting:
            assert dropped is None
            return
        assert dropped is not None
        self.gone(dropped, "dead_lettered")
        mine = [numbers(u) for u in waiting if u.agent_id == dropped.agent_id]
        assert numbers(dropped) == mine[0], "the oldest of its agent"
        if not self.event_came_back:  # those that were out already go first
            assert numbers(dropped) == min(numbers(u) for u in waiting)

    @precondition(lambda self: self.loses_state)
    @rule(priority=st.none() | priorities)
    def clear(self, priority: UpdatePriority | None) -> None:
        expected = [
            u for agent in AGENTS for u in self.chain(agent) if priority is None or u.priority is priority
        ]
        cleared = self.queue.clear(priority)
        assert sorted(map(numbers, cleared)) == sorted(map(numbers, expected))
        for update in cleared:
            self.gone(update, "cleared")

    @rule(window=st.sampled_from([0.0, 5.0, 20.0, 1000.0]))
    def edit_windows(self, window: float) -> None:
        policy = AdaptiveBatching(BatchingConfig(batch_timeout_ms=window))
        self.queue.windows_s = policy.windows_s()
        self.windows = list(policy.windows_s())

    # what is always so

    @invariant()
    def law_q5_every_update_is_in_exactly_one_place(self) -> None:
        waits = self.queue.pending_by_priority()
        out = [u for batch in self.out for u in batch]
        shown = self.queue.account.snapshot()
        for priority in PRIORITIES:
            row = dict(shown[priority.label])
            assert row.pop("pending") == waits[priority] + sum(u.priority is priority for u in out)
            assert row == self.terms[priority]
        for term in TERMS:
            assert shown["total"][term] == sum(self.terms[p][term] for p in PRIORITIES)

    @invariant()
    def law_q4_what_is_out_does_not_change(self) -> None:
        for batch in getattr(self, "frozen", []):
            if any(batch[0][0] is out[0] for out in self.out):
                for update, payload, fields, kind in batch:
                    assert (update.payload, dict(update.fields or {}), update.kind) == (payload, fields, kind)

    @invariant()
    def law_q1_a_chain_shares_the_earliest_deadline_of_what_follows(self) -> None:
        for agent in AGENTS:
            keys = [(u.rank, u.deadline) for u in self.chain(agent)]
            assert keys == [self.keys[id(u)] for u in self.chain(agent)]
            assert keys == sorted(keys)

    @invariant()
    def gauges_equal_a_recount(self) -> None:
        waiting = [u for agent in AGENTS for u in self.chain(agent)]
        events = [u for u in waiting if u.kind is EVENT]
        assert self.queue.event_count == len(events)
        assert self.queue.event_bytes == sum(u.size_bytes() for u in events)
        assert self.queue.waiting_bytes == sum(u.size_bytes() for u in waiting)
        oldest = self.queue.oldest_accepted_at()
        assert oldest == min((u.accepted_at for u in waiting), default=None)

    @invariant()
    def no_chain_is_stuck_and_none_is_leaked(self) -> None:
        assert self.queue.has_ready() == bool(self.ready())
        held = {u.agent_id for batch in self.out for u in batch}
        needed = held | set(self.backing_off) | {agent for agent in AGENTS if self.chain(agent)}
        assert set(self.queue.chains) == needed
        places = len(self.queue._critical) + len(self.queue._rest)
        assert places <= 2 * len(self.queue.chains) + 1000

    def teardown(self) -> None:
        """Everything can be delivered in the end, and then each channel holds what was queued."""
        for batch in self.out:
            for update in batch:
                self.gone(update, "delivered")
            self.queue.delivered(batch)
        self.out = []
        self.queue.wake_up(float("inf"))
        self.backing_off = {}
        while batch := self.queue.take(3):
            for update in batch:
                self.gone(update, "delivered")
            self.queue.delivered(batch)
        self.law_q5_every_update_is_in_exactly_one_place()
        self.no_chain_is_stuck_and_none_is_leaked()
        assert self.queue.account.snapshot()["total"]["pending"] == 0
        for agent in self.agents.values():
            assert not agent.events
            agent.converged()


TestLawsQ1ToQ5 = QueueMachine.TestCase


@given(
    base=st.none() | st.dictionaries(st.sampled_from(FIELDS), st.just(0)),
    updates=st.lists(
        st.tuples(st.sampled_from([REPLACE, MERGE, REMOVE]), field_sets, field_sets), min_size=2, max_size=5
    ),
)
def test_law_q2_the_composition_says_what_both_would_have_said(
    base: State, updates: list[tuple[UpdateKind, frozenset[str], frozenset[str]]]
) -> None:
    """Law Q2: whatever was there before; priority, times and retries are the newest one's."""
    state = base
    composed: UpdateMessage | None = None
    for number, (kind, sets, unsets) in enumerate(updates, start=1):
        priority = PRIORITIES[number % len(PRIORITIES)]
        update = make(number, "x", kind, priority, ("a",), sets, unsets, at=number / 8)
        update.timestamp, update.retry_count = number * 10.0, number % 3
        state = applied(state, update)
        if composed is None:
            composed = update
        else:
            compose(composed, update)
        if composed.kind is REPLACE and composed.fields is not None:
            assert None not in composed.fields.values(), "nothing is left to remove from a whole state"
        assert applied(base, composed) == state
        assert numbers(composed) == list(range(1, number + 1))
        assert (composed.priority, composed.accepted_at) == (priority, number / 8)
        assert (composed.timestamp, composed.retry_count) == (number * 10.0, number % 3)


@given(
    patches=st.lists(st.tuples(field_sets, field_sets), min_size=1, max_size=4),
    loaded=st.none() | st.dictionaries(st.sampled_from(FIELDS), st.just(0)),
)
def test_law_q2_patches_after_a_state_to_be_loaded_are_laid_over_it_at_the_flush(
    patches: list[tuple[frozenset[str], frozenset[str]]], loaded: State
) -> None:
    """Law Q2: a state that is loaded at the flush keeps the patches that came after it, removals included."""
    update = make(0, "x", REPLACE, UpdatePriority.NORMAL, ("a",))
    update.payload, update.load = None, lambda agent_id: loaded
    state = dict(loaded or {})
    for number, (sets, unsets) in enumerate(patches, start=1):
        patch = make(number, "x", MERGE, UpdatePriority.NORMAL, ("a",), sets, unsets)
        state = applied(state, patch) or {}
        compose(update, patch)
    assert update.kind is REPLACE
    assert update.load is not None
    laid_over = make(0, "x", MERGE, UpdatePriority.NORMAL, ("a",))
    laid_over.fields = update.fields
    assert applied(loaded or {}, laid_over) == state
    newest = make(9, "x", REPLACE, UpdatePriority.NORMAL, ("a",), frozenset({"f"}))
    compose(update, newest)
    assert (update.load, update.fields, update.data) == (None, None, {"f": 9})


@given(critical=st.integers(1, 200), rest=st.integers(1, 30), limit=st.integers(1, 7))
def test_law_q3_one_place_in_twenty_for_what_is_not_critical(critical: int, rest: int, limit: int) -> None:
    """Law Q3: however much is CRITICAL, of any twenty places in a row one is somebody else's."""
    queue = PriorityQueue()
    for number in range(1, critical + rest + 1):
        priority = UpdatePriority.CRITICAL if number <= critical else UpdatePriority.LOW
        queue.accept(make(number, f"agent {number}", EVENT, priority, ("a",)))
    taken: list[UpdateMessage] = []
    while batch := queue.take(limit):
        queue.delivered(batch)
        taken += batch
    assert [numbers(u) for u in taken if u.priority is UpdatePriority.CRITICAL] == [
        [n + 1] for n in range(critical)
    ]
    others = [place for place, update in enumerate(taken) if update.priority is UpdatePriority.LOW]
    assert len(others) == rest
    crowded = [place for place in others if place < critical]
    for place, following in pairwise([-1, *others]):
        assert following - place <= SHARE_OF_THE_REST
    assert len(crowded) <= len(taken) / SHARE_OF_THE_REST + 1


@given(
    bound=st.integers(1, 5),
    agents=st.integers(1, 3),
    pattern=st.lists(st.sampled_from(PRIORITIES), min_size=1, max_size=8),
)
@settings(max_examples=10)
def test_law_q5_an_outage_with_overflow_keeps_nothing_of_what_it_dropped(
    bound: int, agents: int, pattern: list[UpdatePriority]
) -> None:
    """Nothing is taken for hours while the oldest events make room: what the queue keeps stays bounded."""
    queue = PriorityQueue()
    queue.accept(make(1, "urgent", REPLACE, UpdatePriority.CRITICAL, ("a",)))
    for number, priority in enumerate(islice(cycle(pattern), 3000), start=2):
        queue.accept(make(number, f"agent {number % agents}", EVENT, priority, ("a",), at=number / 8))
        if queue.event_count > bound:
            assert queue.drop_oldest_event() is not None
    assert queue.event_count == bound
    assert len(queue._critical) + len(queue._rest) <= 2 * len(queue.chains) + 1000
    assert len(queue._events) <= 2 * queue.event_count + 1000
    assert len(queue.chains) <= agents + 1
    assert sum(len(queue.take(100)) for _ in range(2)) == bound + 1
