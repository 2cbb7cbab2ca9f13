"""Laws C1 to C4, C6 and C8 of a sync connection, and Law S4 of its client: random schedules of writers.

Each change gets a number of its own, so what a client shows of an agent can be looked up in that agent's history: it
must be in there, and never before what was shown last, nor before what an event came after.
"""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from django_update_pipeline.core import sync_live, sync_session
from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store
from django_update_pipeline.core.sync_frames import SyncFrame
from django_update_pipeline.core.sync_live import SyncLive, SyncRenderer
from django_update_pipeline.core.sync_session import SyncSession
from django_update_pipeline.core.view import View
from django_update_pipeline.testing.mirror import Mirror
from tests.unit.core.sync_scene import A, World

REPLACE, MERGE, REMOVE, EVENT = UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE, UpdateKind.EVENT
CHANNELS = ("a", "b")
AGENTS = ("x", "y", "z")
FIELDS = ("f", "g", "h")
PROJECTION = ("f", "g")
VIEWS = (View("a"), View("b"), View("a", PROJECTION), View("a", ("f",), has_events=False))
PLACES = (("a",), ("b",), ("a", "b"))

State = dict[str, int] | None


class Viewer:
    """One client: its session, what its writer is in the middle of, and its mirrors by channel."""

    def __init__(self, world: SyncMachine) -> None:
        self.world = world
        self.mirrors: dict[View, Mirror] = {}
        self.shown: dict[tuple[View, str], int] = {}  # the place in the history of what is shown
        self.told_events: dict[View, list[int]] = {}
        self.connect()

    def connect(self) -> None:
        self.session = SyncSession(self.world.renderer)
        self.live: tuple[SyncLive, int] | None = None
        if self.mirrors:
            self.resume()

    def resume(self) -> None:
        self.session.subscribe({view: self.since(view) for view in self.mirrors})

    def since(self, view: View) -> tuple[str, int] | None:
        position = self.mirrors[view].since()
        return None if position is None else (position["epoch"], position["offset"])

    def subscribe(self, view: View) -> None:
        for other in [one for one in self.mirrors if one.channel == view.channel and one != view]:
            self.forget(other)
        mirror = self.mirrors.setdefault(view, Mirror())
        self.told_events.setdefault(view, [])
        self.session.subscribe({view: self.since(view)})
        assert mirror is self.mirrors[view]

    def unsubscribe(self, channel: str) -> None:
        self.session.unsubscribe([channel])
        for view in [one for one in self.mirrors if one.channel == channel]:
            self.forget(view)

    def forget(self, view: View) -> None:
        del self.mirrors[view]
        self.told_events.pop(view, None)
        self.shown = {key: at for key, at in self.shown.items() if key[0] != view}

    def write(self) -> bool:
        """At most one frame. False: there was nothing to do."""
        session = self.session
        if self.live is not None:
            live, count = self.live
            is_stale = live.head != self.world.store.head or live.views != session.views
            if is_stale or session.catch_up or count == len(live.frames):
                session.sent(live, count)
                self.live = None
            else:
                self.write_live(live, count)
            return True
        if not session.has_news():
            return False
        if session.catch_up is None:
            live = session.live()
            if live is not None:
                self.write_live(live, 0)
                return True
            session.fall_behind()
        frame = session.next_frame()
        if frame is not None:
            self.receive(frame)
        return True

    def write_live(self, live: SyncLive, count: int) -> None:
        if count == len(live.frames):
            self.session.sent(live, count)
            self.live = None
        else:
            self.live = live, count + 1
            self.receive(live.frames[count])

    def receive(self, sent: SyncFrame) -> None:
        """No frame, shared or not (Law C6), and no part of a pass (Law C2) needs another subscription."""
        frame = json.loads(sent.text)
        view = sent.view
        assert frame["channel"] == view.channel
        assert frame.get("view", "") == view.name
        assert names_in(frame) <= set(FIELDS if view.fields is None else view.fields), (
            "a field of another view"
        )
        assert view.has_events or not (frame.get("events") or frame["event_count"])
        mirror = self.mirrors.get(view)
        assert mirror is not None, "a frame of a view that was left"
        assert frame["from"] <= mirror.position or frame.get("reset"), "no frame needs another subscription"
        if frame.get("reset"):
            self.shown = {key: at for key, at in self.shown.items() if key[0] != view}
            self.told_events[view] = []
        before = len(mirror.events)
        # Removal and state first: looked at before the events of the same frame.
        new_events = mirror.events
        assert mirror.apply(frame)
        assert mirror.repaired == 0, "the self-check found a difference"
        for agent_id in AGENTS:
            self.look(view, agent_id)
        for event in new_events[before:]:
            self.hear(view, event)

    def look(self, view: View, agent_id: str) -> None:
        """What is shown of an agent is what it was at some time, and no earlier one than before (Law C1)."""
        shown = self.mirrors[view].agents.get(agent_id)
        history = self.world.history[view.channel, agent_id]
        at = self.shown.get((view, agent_id), 0)
        for place in range(at, len(history)):
            if projected(history[place][1], view) == shown:
                self.shown[view, agent_id] = place
                return
        raise AssertionError(f"{agent_id} of {view} shows {shown}, which it was not since {history[at:]}")

    def hear(self, view: View, event: dict[str, Any]) -> None:
        """An event comes once, in its agent's order, after the states queued before it."""
        number, agent_id = event["data"]["n"], event["agent_id"]
        assert number not in self.told_events[view]
        same = [n for n in self.told_events[view] if self.world.speaker[n] == agent_id]
        assert not same or same[-1] < number
        self.told_events[view].append(number)
        for other in self.mirrors:  # Law C4: of all its views
            place = self.world.place_of(other.channel, agent_id, number)
            mirror = self.mirrors[other]
            if mirror.epoch != self.world.store.epoch or self.world.is_reset_due(self, other):
                continue
            shown = mirror.agents.get(agent_id)
            history = self.world.history[other.channel, agent_id]
            candidates = [projected(state, other) for _, state in history[place:]]
            assert shown in candidates, (other, agent_id, number, shown, candidates)


def names_in(frame: dict[str, Any]) -> set[str]:
    """Every field that a frame names, in whatever way."""
    changes = list(frame.get("agents", {}).values())
    wholes = list(frame.get("check", {}).get("agents", {}).values())
    return {
        *(name for change in changes for name in change.get("set", {})),
        *(name for change in changes for name in change.get("unset", ())),
        *(name for whole in wholes for name in whole),
    }


def projected(state: State, view: View) -> State:
    if state is None or view.fields is None:
        return state
    return {name: state[name] for name in view.fields if name in state}


class SyncMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            mock.patch.object(sync_session, "PART_CHARS", 330),
            mock.patch.object(sync_live, "PART_CHARS", 330),
            mock.patch.object(sync_live, "MAX_LIVE_CHARS", 900),
            mock.patch.object(sync_live, "MAX_EVENT_CHARS", 100),
            mock.patch.object(sync_session, "MAX_LISTED_AGENTS", 2),
            mock.patch.object(sync_live, "CHECK_EVERY_S", 3.0),
            mock.patch.object(sync_live, "CHECK_SHARE", 0),
        ]
        for patch in self.patches:
            patch.start()

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()

    @initialize(events=st.sampled_from((2, 5, 1000)), stones=st.sampled_from((3, 1000)))
    def begin(self, events: int, stones: int) -> None:
        self.now = 0.0
        self.config = StoreConfig(max_events=events, max_tombstones=stones)
        self.number = 0
        self.batch = 0
        self.speaker: dict[int, str] = {}
        self.viewers: list[Viewer] = []
        self.new_log("e0")

    def new_log(self, epoch: str) -> None:
        self.store = Store(epoch, self.config)
        self.renderer = SyncRenderer(self.store, lambda: self.now)
        self.history: dict[tuple[str, str], list[tuple[int, State]]] = {
            (channel, agent): [(0, None)] for channel in CHANNELS for agent in AGENTS
        }
        self.queued: dict[str, list[int]] = {channel: [] for channel in CHANNELS}

    def place_of(self, channel: str, agent_id: str, number: int) -> int:
        """Where an agent's history stood when an event was queued."""
        history = self.history[channel, agent_id]
        return max(place for place, (since, _) in enumerate(history) if since < number)

    def is_reset_due(self, viewer: Viewer, view: View) -> bool:
        """Whether a view is being told anew, and its client knows: what it shows is marked as not live."""
        catch_up = viewer.session.catch_up
        if catch_up is None:
            return False
        return any(t.view == view and t.reset_told and not t.is_done for t in catch_up.turns)

    def publish(
        self, kind: UpdateKind, agent_id: str, channels: tuple[str, ...], fields: Any, priority: int
    ) -> None:
        self.number += 1
        self.batch += 1
        content: dict[str, Any] = {}
        unset: tuple[str, ...] = ()
        if kind is EVENT:
            content = {"n": self.number}
            self.speaker[self.number] = agent_id
        elif kind is not REMOVE:
            content = {name: self.number for name, is_set in fields.items() if is_set}
            unset = tuple(name for name, is_set in fields.items() if not is_set) if kind is MERGE else ()
        change = Change(
            kind,
            agent_id,
            channels,
            "said" if kind is EVENT else "state_change",
            json.dumps(content, separators=(",", ":")).encode(),
            unset,
            float(self.number),
            UpdatePriority(priority),
        )
        self.store.apply(Publication(f"p{self.batch}", (change,)))
        for channel in channels:
            if kind is EVENT:
                self.queued[channel].append(self.number)
                continue
            history = self.history[channel, agent_id]
            before = history[-1][1]
            after: State
            if kind is REMOVE:
                after = None
            elif kind is REPLACE:
                after = dict(content)
            else:
                after = {**(before or {}), **content}
                for name in unset:
                    after.pop(name, None)
            history.append((self.number, after))

    @rule(
        kind=st.sampled_from((REPLACE, MERGE, MERGE, REMOVE)),
        agent_id=st.sampled_from(AGENTS),
        channels=st.sampled_from(PLACES),
        fields=st.dictionaries(st.sampled_from(FIELDS), st.booleans()),
        priority=st.sampled_from((0, 2, 2)),
    )
    def change(self, kind: UpdateKind, agent_id: str, channels: Any, fields: Any, priority: int) -> None:
        self.publish(kind, agent_id, channels, fields, priority)

    @rule(
        agent_id=st.sampled_from(AGENTS), channels=st.sampled_from(PLACES), priority=st.sampled_from((0, 2))
    )
    def say(self, agent_id: str, channels: Any, priority: int) -> None:
        self.publish(EVENT, agent_id, channels, None, priority)

    @rule(said=st.lists(st.tuples(st.sampled_from(AGENTS), st.sampled_from(PLACES)), min_size=4, max_size=8))
    def chatter(self, said: list[tuple[str, Any]]) -> None:
        """Events and no states, and more than is made at once: who reads slowly shares the first of them."""
        for agent_id, channels in said:
            self.publish(EVENT, agent_id, channels, None, 2)

    @precondition(lambda self: len(self.viewers) < 3)
    @rule(view=st.sampled_from(VIEWS))
    def join(self, view: View) -> None:
        viewer = Viewer(self)
        viewer.subscribe(view)
        self.viewers.append(viewer)

    @precondition(lambda self: self.viewers)
    @rule(which=st.integers(0, 2), view=st.sampled_from(VIEWS))
    def subscribe(self, which: int, view: View) -> None:
        self.viewers[which % len(self.viewers)].subscribe(view)

    @precondition(lambda self: self.viewers)
    @rule(which=st.integers(0, 2), channel=st.sampled_from(CHANNELS))
    def unsubscribe(self, which: int, channel: str) -> None:
        self.viewers[which % len(self.viewers)].unsubscribe(channel)

    @precondition(lambda self: self.viewers)
    @rule(which=st.integers(0, 2), frames=st.integers(1, 4))
    def write(self, which: int, frames: int) -> None:
        viewer = self.viewers[which % len(self.viewers)]
        for _ in range(frames):
            if not viewer.write():
                break

    @precondition(lambda self: self.viewers)
    @rule(which=st.integers(0, 2))
    def cut(self, which: int) -> None:
        """A connection is lost and comes back with its positions."""
        self.viewers[which % len(self.viewers)].connect()

    @rule(channel=st.sampled_from(CHANNELS))
    def compact(self, channel: str) -> None:
        self.store.channel(channel).compact()

    @rule(seconds=st.sampled_from((1.0, 5.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def settle(self) -> None:
        for viewer in getattr(self, "viewers", ()):
            for _ in range(10_000):
                if not viewer.write():
                    break
            else:
                raise AssertionError("a writer does not come to an end")
            for view, mirror in viewer.mirrors.items():
                assert mirror.is_live
                truth = {
                    agent_id: projected(self.history[view.channel, agent_id][-1][1], view)
                    for agent_id in AGENTS
                    if self.history[view.channel, agent_id][-1][1] is not None
                }
                assert mirror.agents == truth

    @rule()
    def everybody_catches_up(self) -> None:
        """Every client ends with exactly what the store has (promise 2), urgent parts or not (Law C3)."""
        self.settle()
        assert all(not viewer.session.has_news() for viewer in self.viewers)

    @invariant()
    def no_event_is_lost_in_silence(self) -> None:
        """A live view that was told of an event was told of all since it began, or how many it missed."""
        for viewer in getattr(self, "viewers", ()):
            for view, mirror in viewer.mirrors.items():
                if not (mirror.is_live and viewer.live is None and viewer.session.catch_up is None):
                    continue
                told = viewer.told_events[view]
                if told and mirror.missed == 0 and not viewer.session.has_news():
                    expected = [n for n in self.queued[view.channel] if n >= min(told)]
                    assert sorted(told) == expected


TestSyncMachine = SyncMachine.TestCase


CHURN = st.lists(
    st.tuples(st.sampled_from(("guest", "come", "go", "field", "event")), st.sampled_from(AGENTS)),
    min_size=4,
    max_size=12,
)


@given(churn=CHURN, is_known=st.booleans(), priority=st.sampled_from((0, 2)))
def test_a_pass_ends_and_the_next_goes_on_from_there(
    churn: list[tuple[str, str]], is_known: bool, priority: int
) -> None:
    """Law C8: with more tombstones made between any two frames than are kept, for as long as it goes."""
    with mock.patch.object(sync_session, "PART_CHARS", 330):
        world = World(max_tombstones=3)
        for agent_id in AGENTS:
            world.set(agent_id, f=1, g=1)
        viewer = world.viewer(A)
        if is_known:
            viewer.settle()
            viewer.frames = []
            viewer.session.fall_behind()
        number = 0
        mirror = viewer.mirrors[A]
        for _ in range(4):
            catch_up = viewer.session.catch_up
            assert catch_up is not None
            target = catch_up.target
            events = len(world.store.channel("a").events_between(mirror.position, target))
            for _ in range(4 * len(AGENTS) + 2 * events + 4):
                if viewer.session.catch_up is not catch_up:
                    break
                if viewer.step() is None:
                    viewer.session.fall_behind()
                for kind, agent_id in churn * 2:
                    number += 1
                    if kind == "guest":
                        world.set(f"guest{number}", n=1)
                        world.remove(f"guest{number}")
                    elif kind == "come":
                        world.set(agent_id, "a", UpdatePriority(priority), f=number)
                    elif kind == "go":
                        world.remove(agent_id)
                    elif kind == "field":
                        world.set(agent_id, g=number, h=number)
                        world.unset(agent_id, "g")
                    else:
                        world.say(agent_id, "a", UpdatePriority(priority))
            else:
                raise AssertionError(f"the pass up to {target} does not end")
        while viewer.session.catch_up is not None:
            viewer.step()
        assert sum(1 for frame in viewer.frames if frame.get("reset")) == (not is_known)
        viewer.settle()
        assert mirror.agents == {one: json.loads(text) for one, text in world.store.states("a").items()}
