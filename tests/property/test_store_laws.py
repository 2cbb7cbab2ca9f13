"""Laws S1 to S4 of the store: a state machine beside a model that keeps a copy of the state at each offset."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Changes, Store

REPLACE, MERGE, REMOVE, EVENT = UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE, UpdateKind.EVENT
CHANNELS = ("a", "b")
FIELDS = ("f", "g", "h")

States = dict[str, dict[str, Any]]


def text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


fields = st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 2), max_size=3)
unsets = st.frozensets(st.sampled_from(FIELDS), max_size=2)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    kind = draw(st.sampled_from(UpdateKind))
    agent = draw(st.sampled_from(["x", "y", "z"]))
    content: Any = draw(fields) if kind in (REPLACE, MERGE) else {}
    unset: tuple[str, ...] = ()
    if kind is MERGE:
        unset = tuple(sorted(draw(unsets) - set(content)))
    if kind is EVENT:
        content = {"text": "x" * draw(st.integers(0, 40))}
    channels = draw(st.sampled_from([("a",), ("b",), ("a", "b")]))
    return Change(kind, agent, channels, kind.name, text(content), unset, 1.0, UpdatePriority.NORMAL)


class Channel:
    """The model of one channel: everything is kept, nothing is compacted."""

    def __init__(self) -> None:
        self.agents: States = {}
        self.at: dict[tuple[str, str], int] = {}  # agent and field: the offset that last changed it
        self.gone: dict[tuple[str, str], int] = {}  # ... that unset it
        self.created: dict[str, int] = {}
        self.changed: dict[str, int] = {}
        self.removed: dict[str, int] = {}
        self.events: list[tuple[int, bytes]] = []
        self.copies: dict[int, States] = {0: {}}

    def apply(self, offset: int, change: Change) -> None:
        agent = change.agent_id
        if change.kind is EVENT:
            self.events.append((offset, change.content))
        elif change.kind is REMOVE:
            if self.agents.pop(agent, None) is not None:
                self.removed[agent] = offset
                for stones in (self.at, self.gone):
                    for key in [key for key in stones if key[0] == agent]:
                        del stones[key]
        else:
            content = json.loads(change.content)
            if agent not in self.agents:
                self.created[agent] = self.changed[agent] = offset
            before = self.agents.get(agent, {})
            if change.kind is REPLACE:
                after = content
            else:
                after = {k: v for k, v in (before | content).items() if k not in change.unset}
            for key in FIELDS:
                if before.get(key) != after.get(key):
                    self.changed[agent] = offset
                    if key in after:
                        self.at[agent, key] = offset
                        self.gone.pop((agent, key), None)
                    else:
                        self.gone[agent, key] = offset
                        del self.at[agent, key]
            self.agents[agent] = after

    def stones_above(self, floor: int) -> int:
        stones = [*self.gone.values(), *self.removed.values()]
        return sum(offset > floor for offset in stones)


class Client:
    """What a client of one channel holds (Law S4)."""

    def __init__(self) -> None:
        self.position, self.epoch = 0, ""
        self.states: States = {}
        self.events: list[int] = []
        self.count = self.missed = 0

    def apply(self, frame: Changes) -> None:
        """Applies a frame that starts at or below the position and does not end below it."""
        assert frame.reset or frame.from_ <= self.position <= frame.to
        if frame.reset:
            self.states, known = {}, frame.to
        else:
            known = self.position
        for agent in frame.removed:
            self.states.pop(agent, None)
        for agent, change in frame.agents.items():
            state = self.states.setdefault(agent, {})
            state |= {key: json.loads(value) for key, value in change.set.items()}
            for key in change.unset:
                state.pop(key, None)
        new = [event.offset for event in frame.events if event.offset > known]
        assert not frame.reset or not frame.events
        self.events += new
        self.missed += frame.event_count - self.count - len(new)
        self.count = frame.event_count
        self.position, self.epoch = frame.to, frame.epoch


class StoreMachine(RuleBasedStateMachine):
    """One store, its model, and clients that ask from anywhere."""

    @initialize(
        max_events=st.integers(1, 6), max_event_bytes=st.integers(1, 120), max_tombstones=st.integers(1, 6)
    )
    def start(self, max_events: int, max_event_bytes: int, max_tombstones: int) -> None:
        self.config = StoreConfig(
            max_events=max_events, max_event_bytes=max_event_bytes, max_tombstones=max_tombstones
        )
        self.store = Store("e1", self.config)
        self.head = 0
        self.channels = {name: Channel() for name in CHANNELS}
        self.floors = dict.fromkeys(CHANNELS, 0)
        self.peaks = dict.fromkeys(CHANNELS, 0)  # most stones above the floor since it last moved
        self.published: list[tuple[Publication, set[int]]] = []
        self.clients = [(name, Client()) for name in CHANNELS for _ in range(3)]
        self.kept: list[tuple[str, Changes]] = []

    # writing

    def note(self, change: Change) -> None:
        self.head += 1
        for name in change.channels:
            self.channels[name].apply(self.head, change)
        for name, channel in self.channels.items():
            self.peaks[name] = max(self.peaks[name], channel.stones_above(self.floors[name]))
            channel.copies[self.head] = {agent: dict(state) for agent, state in channel.agents.items()}

    @rule(content=st.lists(changes(), min_size=1, max_size=4))
    def publish(self, content: list[Change]) -> None:
        """Law S1: one counter numbers every change, whatever its channel."""
        publication = Publication(f"p{len(self.published)}", tuple(content))
        assert self.store.apply(publication)
        for change in content:
            self.note(change)
        self.published.append((publication, set(range(len(content)))))

    @rule(content=st.lists(changes(), min_size=1, max_size=4), data=st.data())
    def publish_in_parts(self, content: list[Change], data: st.DataObject) -> None:
        """Law S1: a part applied before is not applied again, by itself or with the whole."""
        publication = Publication(f"p{len(self.published)}", tuple(content))
        done: set[int] = set()
        for index in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=5)):
            assert self.store.apply(publication.parts()[index]) is (index not in done)
            if index not in done:
                done.add(index)
                self.note(content[index])
        self.published.append((publication, done))

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        """Law S1: a publication that arrives again changes nothing but what was missing of it."""
        publication, done = data.draw(st.sampled_from(self.published))
        missing = [i for i in range(len(publication.changes)) if i not in done]
        applied = self.store.apply(publication)
        assert not missing or applied
        for index in missing:
            done.add(index)
            self.note(publication.changes[index])
        assert not self.store.apply(publication)

    # reading

    def expected(self, name: str, n: int) -> tuple[dict[str, Any], list[str], list[int]]:
        channel = self.channels[name]
        agents = {}
        for agent in sorted(channel.agents, key=lambda agent: channel.changed[agent]):
            if channel.changed[agent] <= n:
                continue
            state = channel.agents[agent]
            sets = {key: state[key] for key in state if channel.at[agent, key] > n}
            unset = {key for a, key in channel.gone if a == agent and channel.gone[a, key] > n}
            agents[agent] = ({key: text(value) for key, value in sets.items()}, unset)
        removed = sorted((at, agent) for agent, at in channel.removed.items() if at > n)
        ring = channel.events[-self.config.max_events :]
        while len(ring) > 1 and sum(len(data) for _, data in ring) > self.config.max_event_bytes:
            ring.pop(0)
        return agents, [agent for _, agent in removed], [offset for offset, _ in ring if offset > n]

    def check(self, name: str, n: int) -> None:
        """Law S3: everything above n, each once and newest, in order of its last change; nothing else."""
        frame = self.store.changes_since(name, "e1", n)
        agents, removed, events = self.expected(name, n)
        assert (frame.epoch, frame.from_, frame.to, frame.reset) == ("e1", n, self.head, False)
        assert {a: (c.set, set(c.unset)) for a, c in frame.agents.items()} == agents
        assert list(frame.agents) == list(agents)
        assert frame.removed == removed
        assert [event.offset for event in frame.events] == events
        assert frame.event_count == len(self.channels[name].events)

    @rule()
    def ask_from_everywhere(self) -> None:
        """Law S3: from each offset at or above the floor exactly, from anywhere else by a snapshot."""
        for name, channel in self.channels.items():
            for n in range(self.floors[name], self.head + 1):
                self.check(name, n)
            states = {agent: {k: text(v) for k, v in s.items()} for agent, s in channel.agents.items()}
            for epoch, n in (
                ("e1", -1), ("e1", self.floors[name] - 1), ("e1", self.head + 1), ("e0", 0), (None, self.head)
            ):  # fmt: skip
                frame = self.store.changes_since(name, epoch, n)
                assert (frame.reset, frame.from_, frame.to) == (True, 0, self.head)
                assert {agent: change.set for agent, change in frame.agents.items()} == states
                assert not frame.removed
                assert not frame.events
                assert not any(change.unset for change in frame.agents.values())

    @rule(which=st.integers(0, 5), back=st.integers(0, 8), keep=st.booleans())
    def catch_up(self, which: int, back: int, keep: bool) -> None:
        """Law S4: from its position or from an older one, a client arrives at what there is."""
        name, client = self.clients[which]
        since = max(client.position - back, min(client.position, self.floors[name]), 0)
        frame = self.store.changes_since(name, client.epoch or None, since)
        if keep and not frame.reset:
            self.kept.append((name, frame))
        client.apply(frame)
        self.agrees(name, client)

    @precondition(lambda self: self.kept)
    @rule(which=st.integers(0, 5), data=st.data())
    def repeat(self, which: int, data: st.DataObject) -> None:
        """Law S4: frames repeat and overlap harmlessly, one made for another client included."""
        name, frame = data.draw(st.sampled_from(self.kept))
        other, client = self.clients[which]
        if other == name and client.epoch and frame.from_ <= client.position <= frame.to:
            client.apply(frame)
            self.agrees(name, client)

    def agrees(self, name: str, client: Client) -> None:
        """Law S4: the states are those of its position, and each event was told once, or is missed by number."""
        assert client.states == self.channels[name].copies[client.position]
        events = [offset for offset, _ in self.channels[name].events if offset <= client.position]
        assert client.events == sorted(set(client.events))
        assert set(client.events) <= set(events)
        assert len(client.events) + client.missed == len(events), "what is missed is known by number"

    # what is always so

    @invariant()
    def law_s2_content_and_gauges(self) -> None:
        """Law S2: compaction drops the older stones and no others, and says so by its floor."""
        assert self.store.head == self.head
        size = 0
        agents: set[str] = set()
        for name, model in self.channels.items():
            channel = self.store.channel(name)
            states = self.store.states(name)
            assert {agent: json.loads(state) for agent, state in states.items()} == model.agents
            state_bytes = sum(len(text(v)) for state in model.agents.values() for v in state.values())
            assert channel.state_bytes == state_bytes
            ring = channel.events_between(0, self.head)
            assert channel.event_bytes == sum(len(event.data) for event in ring)
            size += state_bytes + channel.event_bytes
            agents |= set(model.agents)
            assert channel.floor >= self.floors[name]
            if channel.floor > self.floors[name]:
                assert self.peaks[name] > self.config.max_tombstones, "no sooner than it must"
                self.floors[name] = channel.floor
                self.peaks[name] = model.stones_above(channel.floor)
            stones = channel.tombstones + len(channel.removed)
            assert stones == model.stones_above(channel.floor)
            assert stones <= self.config.max_tombstones
        assert self.store.size_bytes() == size
        assert self.store.agent_count() == len(agents)

    def teardown(self) -> None:
        self.ask_from_everywhere()
        for name, client in self.clients:
            client.apply(self.store.changes_since(name, client.epoch or None, client.position))
            self.agrees(name, client)


TestLawsS1ToS4 = StoreMachine.TestCase
