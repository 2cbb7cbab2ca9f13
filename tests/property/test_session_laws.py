"""Laws C1, C2, C4 and C7 of a classic connection: random schedules of writers, beside a model client.

The client is the founding one: it replaces an agent by each full state it is told, and lists events. The writer
is driven frame by frame, as the runtime does it, with anything in between two frames.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from django_update_pipeline.core import session as session_module
from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.session import ClassicRenderer, ClassicSession, LiveFrames, TooFarBehind
from django_update_pipeline.core.store import Store

REPLACE, MERGE, REMOVE, EVENT = UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE, UpdateKind.EVENT
CHANNELS = ("a", "b")
#: Each agent's states go to the same channels: a classic frame names none, so a client could not tell two apart.
AGENTS = {"x": ("a",), "y": ("b",), "z": ("a", "b"), "w": ("a", "b")}
FIELDS = ("f", "g")
EVENT_CHANNELS = (("a",), ("b",), ("a", "b"))

State = dict[str, int] | None


def value(state: State, field: str) -> int | None:
    """A field's value; the pseudo-field `exists` tells an agent without fields from none."""
    if field == "exists":
        return None if state is None else 0
    return None if state is None else state.get(field)


class Client:
    """One connection: its session, the frames its writer is in the middle of, and what its browser shows."""

    def __init__(self, world: SessionMachine) -> None:
        self.world = world
        self.reached = {(agent, field): 0 for agent in AGENTS for field in (*FIELDS, "exists")}
        self.connect(())

    def connect(self, channels: tuple[str, ...]) -> None:
        self.session = ClassicSession(self.world.renderer, channels, lambda: 1.0)
        self.live: tuple[LiveFrames, int] | None = None
        self.shown: dict[str, State] = dict.fromkeys(AGENTS)
        self.due: dict[str, list[int]] = {name: [] for name in channels}
        self.last_event = 0

    def subscribe(self, channels: tuple[str, ...]) -> None:
        for name in channels:
            self.due.setdefault(name, [])
        self.session.subscribe(channels)

    def unsubscribe(self, channels: tuple[str, ...]) -> None:
        for name in channels:
            self.due.pop(name, None)
        self.session.unsubscribe(channels)
        for agent, its in AGENTS.items():
            if not set(its) & set(self.due):
                self.shown[agent] = None

    # the writer

    def write(self, is_interrupted: bool = False) -> bool:
        """One turn of the writer: at most one frame. False: there was nothing to do."""
        session = self.session
        if self.live is not None:
            live, count = self.live
            if is_interrupted or live.to != self.world.head or session.catch_up:
                session.sent(live, count)
                self.live = None
            else:
                self.write_live(live, count)
            return True
        if not session.has_news():
            return False
        if session.catch_up is None:
            live_frames = self.world.renderer.live(session.channels, session.position)
            if live_frames is not None:
                assert live_frames.to == self.world.head
                self.write_live(live_frames, 0)
                return True
            session.fall_behind()
        try:
            frame = session.next_frame()
        except TooFarBehind:
            assert any(channel.floor > 0 for channel in self.world.store.channels.values())
            self.connect(session.channels)
            return True
        if frame is not None:
            self.receive(frame)
        return True

    def write_live(self, live: LiveFrames, count: int) -> None:
        """Writes the next of the shared frames; while it is being written, anything may happen."""
        if count == len(live.texts):
            self.session.sent(live, count)
            self.live = None
        else:
            self.live = live, count + 1
            self.receive(live.texts[count])

    # the browser

    def receive(self, text: str) -> None:
        frame: dict[str, Any] = json.loads(text)
        if frame["type"] == "system_notification":
            self.receive_warning(frame)
        elif frame["update_type"] == "said":
            self.receive_event(frame["agent_id"], frame["data"]["n"])
        else:
            state = None if frame["update_type"] == "state_removed" else frame["data"]
            self.receive_state(frame["agent_id"], state)

    def receive_state(self, agent: str, state: State) -> None:
        """Law C1: it is the agent as it is now, of a channel we are on, and no field goes back."""
        assert set(AGENTS[agent]) & set(self.due), "nothing of a channel after unsubscribe"
        assert state == self.world.history[agent][-1]
        self.shown[agent] = state
        self.reaches(agent, 0)

    def reaches(self, agent: str, at_least: int) -> None:
        history = self.world.history[agent]
        for field in (*FIELDS, "exists"):
            first = max(self.reached[agent, field], at_least)
            for index in range(first, len(history)):
                if value(history[index], field) == value(self.shown[agent], field):
                    self.reached[agent, field] = index
                    break
            else:
                raise AssertionError(f"{field} of {agent} went back, or an event came before its state")

    def receive_event(self, agent: str, offset: int) -> None:
        """Laws C2, C4: once, in order, and after the state that was queued before it."""
        assert offset > self.last_event
        self.last_event = offset
        holders = [name for name in self.due if offset in self.due[name]]
        assert holders, "an event that is due"
        for name in holders:
            assert self.due[name].pop(0) == offset, "what came before it was told, or told to be missing"
        if set(AGENTS[agent]) & set(self.due):
            self.reaches(agent, self.world.versions_before(agent, offset))

    def receive_warning(self, frame: dict[str, Any]) -> None:
        """Law C7: the number of events that are gone from the ring and that nobody has told us."""
        assert frame["level"] == "warning"
        match = re.match(r"(\d+) event", frame["message"])
        assert match
        missed = 0
        for name, due in self.due.items():
            ring = self.world.ring(name)
            missed += sum(offset not in ring for offset in due)
            due[:] = [offset for offset in due if offset in ring]
        assert int(match[1]) == missed > 0


class SessionMachine(RuleBasedStateMachine):
    """A store, and writers that get on as the scheduler likes."""

    patches: Sequence[Any] = ()

    @initialize(
        max_events=st.integers(1, 8),
        max_tombstones=st.sampled_from([1, 4, 1000]),
        listed=st.sampled_from([0, 1, 1000]),
        shared=st.sampled_from([0, 3, 1000]),
        connected=st.lists(st.sampled_from([(), ("a",), ("a", "b")]), min_size=1, max_size=3),
    )
    def start(self, max_events, max_tombstones, listed, shared, connected) -> None:
        self.patches = [
            mock.patch.object(session_module, "MAX_LISTED_AGENTS", listed),
            mock.patch.object(session_module, "MAX_LIVE_FRAMES", shared),
        ]
        for patch in self.patches:
            patch.start()
        self.config = StoreConfig(max_events=max_events, max_tombstones=max_tombstones)
        self.store = Store("e1", self.config)
        self.renderer = ClassicRenderer(self.store)
        self.head = 0
        self.history: dict[str, list[State]] = {agent: [None] for agent in AGENTS}
        self.offsets: dict[str, list[int]] = {agent: [0] for agent in AGENTS}
        self.events: dict[str, list[int]] = {name: [] for name in CHANNELS}
        self.clients = [Client(self) for _ in connected]
        for client, channels in zip(self.clients, connected, strict=True):
            client.subscribe(channels)

    def versions_before(self, agent: str, offset: int) -> int:
        """How many states of an agent were queued before an offset."""
        return max(index for index, at in enumerate(self.offsets[agent]) if at < offset)

    def ring(self, name: str) -> list[int]:
        return self.events[name][-self.config.max_events :]

    @rule(
        kinds=st.lists(
            st.sampled_from([REPLACE, REPLACE, MERGE, REMOVE, EVENT, EVENT]), min_size=1, max_size=4
        ),
        data=st.data(),
    )
    def publish(self, kinds: list[UpdateKind], data: st.DataObject) -> None:
        changes = []
        for kind in kinds:
            agent = data.draw(st.sampled_from(["z", "z", "z", "x", "y", "w"]))
            if kind is EVENT:
                changes.append(self.event(agent, data.draw(st.sampled_from(EVENT_CHANNELS))))
            else:
                fields, unset_count = (
                    data.draw(st.sets(st.sampled_from(FIELDS))),
                    data.draw(st.integers(0, 1)),
                )
                changes.append(self.state(kind, agent, fields, unset_count))
        self.store.apply(Publication(f"p{self.head}", tuple(changes)))

    def event(self, agent: str, channels: tuple[str, ...]) -> Change:
        self.head += 1
        for name in channels:
            self.events[name].append(self.head)
            for client in self.clients:
                if name in client.due:
                    client.due[name].append(self.head)
        content = b'{"n":%d}' % self.head
        return Change(EVENT, agent, channels, "said", content, (), 1.0, UpdatePriority.LOW)

    def state(self, kind: UpdateKind, agent: str, fields: set[str], unset_count: int = 0) -> Change:
        self.head += 1
        content = dict.fromkeys(sorted(fields), self.head) if kind is not REMOVE else {}
        after: State = dict(content)
        unset: tuple[str, ...] = ()
        if kind is REMOVE:
            after = None
        elif kind is MERGE:
            unset = tuple(sorted(set(FIELDS) - fields))[:unset_count]
            before = self.history[agent][-1] or {}
            after = {key: number for key, number in (before | content).items() if key not in unset}
        self.history[agent].append(after)
        self.offsets[agent].append(self.head)
        text = json.dumps(content).encode()
        return Change(kind, agent, AGENTS[agent], "state_change", text, unset, 1.0, UpdatePriority.LOW)

    @rule(
        which=st.integers(0, 2),
        known=st.sampled_from(["x", "z", "w"]),
        turns=st.integers(0, 3),
        returns=st.booleans(),
        kind=st.sampled_from([REMOVE, REPLACE]),
    )
    def overtake(self, which: int, known: str, turns: int, returns: bool, kind: UpdateKind) -> None:
        """An agent changes and says something; while a writer gets to it, it is removed, or changes again."""
        client = self.clients[which % len(self.clients)]
        changes = [self.state(REPLACE, agent, {"f"}) for agent in ("w", "z", known)]
        self.store.apply(Publication(f"p{self.head}", (*changes, self.event(known, AGENTS[known]))))
        if client.live is None and client.session.catch_up is None and client.session.has_news():
            client.session.fall_behind()
        for _ in range(turns):
            client.write()
        self.store.apply(Publication(f"p{self.head}", (self.state(kind, known, {"g"}),)))
        if returns:
            self.store.apply(Publication(f"p{self.head}", (self.state(MERGE, known, {"f"}),)))

    @rule(which=st.integers(0, 2), turns=st.integers(1, 6), is_interrupted=st.booleans())
    def write(self, which: int, turns: int, is_interrupted: bool) -> None:
        client = self.clients[which % len(self.clients)]
        for _ in range(turns):
            client.write()
        if is_interrupted:
            client.write(is_interrupted)

    @rule()
    def law_c1_shared_frames_are_of_this_moment(self) -> None:
        """Law C1: whoever asks, and whoever asked before from the same position."""
        for client in self.clients:
            if client.live is None and client.session.catch_up is None:
                live = self.renderer.live(client.session.channels, client.session.position)
                if live is not None:
                    assert live.to == self.head
                    for text in live.texts[: live.state_count]:
                        frame = json.loads(text)
                        now = self.history[frame["agent_id"]][-1]
                        assert frame["data"] == (now or {})

    @rule()
    def write_to_the_end(self) -> None:
        """Law C2: with nothing new, every writer comes to an end, and every client shows what is."""
        for client in self.clients:
            for _ in range(10 * (self.head + len(AGENTS)) + 20):
                if not client.write():
                    break
            else:
                raise AssertionError("the writer does not come to an end")
        self.converged_clients_show_what_is()

    @rule(which=st.integers(0, 2), channels=st.sampled_from([("a",), ("b",), ("a", "b")]))
    def subscribe(self, which: int, channels: tuple[str, ...]) -> None:
        self.clients[which % len(self.clients)].subscribe(channels)

    @rule(which=st.integers(0, 2), channels=st.sampled_from([("a",), ("b",), ("a", "b")]))
    def unsubscribe(self, which: int, channels: tuple[str, ...]) -> None:
        client = self.clients[which % len(self.clients)]
        client.unsubscribe(channels)
        if client.live is not None:  # the writer has an answer to write, and leaves its shared frames
            client.write(True)

    @precondition(lambda self: self.head > 3)
    @rule(which=st.integers(0, 2), limit=st.integers(1, 30))
    def law_c2_a_pass_ends_while_the_log_grows(self, which: int, limit: int) -> None:
        """Law C2: events and removals after each frame do not keep a pass from its end."""
        client = self.clients[which % len(self.clients)]
        if client.live is not None:
            client.write(True)
        if client.session.catch_up is None:
            client.session.fall_behind()
        bound = 4 * len(AGENTS) * len(CHANNELS) + 3 * client.session.catch_up.target + 8  # type: ignore[union-attr]
        for _ in range(min(bound, limit * 4)):
            before = client.session
            client.write()
            if client.session.catch_up is None or client.session is not before:
                return
            change = self.event("x", CHANNELS)
            self.store.apply(Publication(f"p{self.head}", (change,)))
        assert limit * 4 < bound, "the pass does not end"

    @invariant()
    def converged_clients_show_what_is(self) -> None:
        for client in self.clients:
            if client.live is None and not client.session.has_news():
                assert client.session.channels == tuple(sorted(client.due))
                for agent, its in AGENTS.items():
                    if set(its) & set(client.due):
                        assert client.shown[agent] == self.history[agent][-1]
                assert not any(client.due.values()), "every event was told, or told to be missing"

    def teardown(self) -> None:
        try:
            if hasattr(self, "clients"):
                self.write_to_the_end()
        finally:
            for patch in self.patches:
                patch.stop()


TestLawsC1C2C4AndC7 = SessionMachine.TestCase


class SeveralChannelsMachine(RuleBasedStateMachine):
    """Agents whose states differ from channel to channel, and viewers of more and more channels.

    A classic frame does not say its channel: of an agent that is in several, the newest state is what is so.
    """

    patches: Sequence[Any] = ()

    @initialize(
        listed=st.sampled_from([0, 1000]), shared=st.sampled_from([0, 3, 1000]), viewers=st.integers(1, 3)
    )
    def start(self, listed: int, shared: int, viewers: int) -> None:
        self.patches = [
            mock.patch.object(session_module, "MAX_LISTED_AGENTS", listed),
            mock.patch.object(session_module, "MAX_LIVE_FRAMES", shared),
        ]
        for patch in self.patches:
            patch.start()
        self.store = Store("e1", StoreConfig())
        self.renderer = ClassicRenderer(self.store)
        self.states: dict[str, dict[str, tuple[int, dict[str, int]]]] = {name: {} for name in "abc"}
        self.sessions = [ClassicSession(self.renderer, ("a",), lambda: 1.0) for _ in range(viewers)]
        self.shown: list[dict[str, dict[str, int]]] = [{} for _ in range(viewers)]
        self.changes_of_y: list[tuple[int, str]] = []

    @rule(
        kind=st.sampled_from([REPLACE, MERGE, REMOVE]),
        agent=st.sampled_from("xy"),
        names=st.sets(st.sampled_from("abc"), min_size=1),
        fields=st.sets(st.sampled_from(FIELDS), min_size=1),
    )
    def publish(self, kind: UpdateKind, agent: str, names: set[str], fields: set[str]) -> None:
        offset = self.store.head + 1
        if agent == "y" and kind is REMOVE:
            kind = REPLACE
        if agent == "y":
            self.changes_of_y += [(offset, name) for name in names]
        content = dict.fromkeys(sorted(fields), offset) if kind is not REMOVE else {}
        for name in names:
            _, before = self.states[name].get(agent, (0, {}))
            if kind is REMOVE:
                self.states[name].pop(agent, None)
            else:
                self.states[name][agent] = (offset, before | content if kind is MERGE else content)
        text = json.dumps(content).encode()
        change = Change(kind, agent, tuple(sorted(names)), "state", text, (), 1.0, UpdatePriority.LOW)
        self.store.apply(Publication(f"p{offset}", (change,)))

    @rule(name=st.sampled_from("abc"))
    def say(self, name: str) -> None:
        """An event of y, which is never removed: what is shown of it may be ahead, but not behind."""
        offset = self.store.head + 1
        change = Change(EVENT, "y", (name,), "said", b'{"n":%d}' % offset, (), 1.0, UpdatePriority.LOW)
        self.store.apply(Publication(f"p{offset}", (change,)))

    @rule(which=st.integers(0, 2), name=st.sampled_from("bc"))
    def subscribe(self, which: int, name: str) -> None:
        self.sessions[which % len(self.sessions)].subscribe((name,))

    @rule(which=st.integers(0, 2), frames=st.integers(1, 4))
    def write(self, which: int, frames: int) -> None:
        which %= len(self.sessions)
        session = self.sessions[which]
        for _ in range(frames):
            if not session.has_news():
                return
            if session.catch_up is None:
                live = self.renderer.live(session.channels, session.position)
                if live is not None:
                    for text in live.texts[:frames]:
                        self.receive(which, text)
                    session.sent(live, len(live.texts[:frames]))
                    continue
                session.fall_behind()
            text = session.next_frame()
            if text is not None:
                self.receive(which, text)

    def receive(self, which: int, text: str) -> None:
        frame = json.loads(text)
        if frame["update_type"] == "said":
            channels = self.sessions[which].channels
            before = [at for at, name in self.changes_of_y if at < frame["data"]["n"] and name in channels]
            assert max(self.shown[which].get("y", {}).values(), default=0) >= max(before, default=0)
        elif frame["update_type"] == "state_removed":
            self.shown[which].pop(frame["agent_id"], None)
        else:
            self.shown[which][frame["agent_id"]] = frame["data"]

    @rule()
    def law_c7_every_viewer_shows_the_newest_state_of_its_channels(self) -> None:
        for which, session in enumerate(self.sessions):
            for _ in range(20 * len(session.channels) + 20):
                self.write(which, 1)
            assert not session.has_news()
            expected = {}
            for agent in "xy":
                found = [self.states[name][agent] for name in session.channels if agent in self.states[name]]
                if found:
                    expected[agent] = max(offset for offset, _ in found), found
            assert set(self.shown[which]) == set(expected)
            for agent, (newest, states) in expected.items():
                assert self.shown[which][agent] in [state for offset, state in states if offset == newest]

    def teardown(self) -> None:
        try:
            if hasattr(self, "sessions"):
                self.law_c7_every_viewer_shows_the_newest_state_of_its_channels()
        finally:
            for patch in self.patches:
                patch.stop()


TestLawC7OfSeveralChannels = SeveralChannelsMachine.TestCase
