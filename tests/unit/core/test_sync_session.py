"""A sync connection, scene by scene: passes, parts, urgent agents, events of several channels, sharing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from django_update_pipeline.core import sync_live, sync_session
from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store
from django_update_pipeline.core.sync_live import SyncRenderer
from django_update_pipeline.core.sync_session import SyncSession
from django_update_pipeline.core.view import View
from django_update_pipeline.testing.mirror import Mirror

A, B = View("a"), View("b")
MOOD = View("a", ("mood",))
CRITICAL, NORMAL = UpdatePriority.CRITICAL, UpdatePriority.NORMAL
MANY = 30_000  # steps of one viewer


class World:
    """A store, and short words for what happens to it."""

    def __init__(self, **config: int) -> None:
        self.now = 100.0
        self.store = Store("e", StoreConfig(**config))
        self.renderer = SyncRenderer(self.store, lambda: self.now)
        self.batch = 0

    def put(
        self,
        kind: UpdateKind,
        agent_id: str,
        content: dict[str, Any],
        channels: str = "a",
        priority: UpdatePriority = NORMAL,
        unset: tuple[str, ...] = (),
    ) -> int:
        """One change, applied; its offset."""
        self.batch += 1
        text = json.dumps(content, separators=(",", ":")).encode()
        update_type = "said" if kind is UpdateKind.EVENT else "state_change"
        change = Change(kind, agent_id, tuple(channels), update_type, text, unset, 50.0, priority)
        self.store.apply(Publication(f"p{self.batch}", (change,)))
        return self.store.head

    def set(
        self, agent_id: str, channels: str = "a", priority: UpdatePriority = NORMAL, **fields: Any
    ) -> int:
        return self.put(UpdateKind.MERGE, agent_id, fields, channels, priority)

    def unset(self, agent_id: str, *names: str, channels: str = "a") -> int:
        return self.put(UpdateKind.MERGE, agent_id, {}, channels, NORMAL, names)

    def remove(self, agent_id: str, channels: str = "a", priority: UpdatePriority = NORMAL) -> int:
        return self.put(UpdateKind.REMOVE, agent_id, {}, channels, priority)

    def say(self, agent_id: str, channels: str = "a", priority: UpdatePriority = NORMAL) -> int:
        return self.put(UpdateKind.EVENT, agent_id, {"n": self.store.head + 1}, channels, priority)

    def viewer(self, *views: View) -> Viewer:
        return Viewer(self, views)


class Viewer:
    """A client and its session."""

    def __init__(self, world: World, views: tuple[View, ...]) -> None:
        self.world = world
        self.mirrors = {view: Mirror() for view in views}
        self.frames: list[dict[str, Any]] = []
        self.steps = 0
        self.connect()

    def connect(self) -> None:
        self.session = SyncSession(self.world.renderer)
        since = {view: mirror.since() for view, mirror in self.mirrors.items()}
        self.session.subscribe(
            {view: (at["epoch"], at["offset"]) if at else None for view, at in since.items()}
        )

    def step(self) -> dict[str, Any] | None:
        """One frame of a pass."""
        self.steps += 1
        assert self.steps < MANY, "it does not come to an end"
        frame = self.session.next_frame()
        return None if frame is None else self.take(frame)

    def take(self, sent: Any) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(sent.text)
        assert None not in frame.get("removed", ()), frame
        assert self.mirrors[sent.view].apply(frame), (
            f"{frame} begins after {self.mirrors[sent.view].position}"
        )
        self.frames.append(frame)
        return frame

    def settle(self) -> list[dict[str, Any]]:
        """Everything there is to tell; the frames."""
        self.frames = []
        while self.session.has_news():
            live = None if self.session.catch_up else self.session.live()
            if live is not None:
                self.steps += 1
                assert self.steps < MANY, "it does not come to an end"
                for frame in live.frames:
                    self.take(frame)
                self.session.sent(live, len(live.frames))
            elif self.session.catch_up is None:
                self.session.fall_behind()
            else:
                while self.step() is not None:
                    pass
        return self.frames

    def shown(self, view: View = A) -> dict[str, Any]:
        return self.mirrors[view].agents

    def said(self, view: View = A) -> list[int]:
        return [event["data"]["n"] for event in self.mirrors[view].events]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each agent and event is a part of its own, and nothing is shared."""
    monkeypatch.setattr(sync_session, "PART_CHARS", 201)
    monkeypatch.setattr(sync_live, "MAX_LIVE_CHARS", 10)


# snapshots and live frames


def test_a_new_subscriber_gets_a_snapshot_without_events() -> None:
    world = World()
    world.set("x", mood="happy")
    world.say("x")
    viewer = world.viewer(A)
    (frame,) = viewer.settle()
    assert frame["reset"] is True
    assert (frame["from"], frame["to"], frame["event_count"]) == (0, 2, 1)
    assert viewer.shown() == {"x": {"mood": "happy"}}
    assert viewer.said() == []
    assert viewer.mirrors[A].is_live


def test_an_empty_channel_is_live_at_once() -> None:
    viewer = World().viewer(A)
    (frame,) = viewer.settle()
    assert (frame["from"], frame["to"]) == (0, 0)
    assert viewer.mirrors[A].is_live


def test_a_change_is_one_frame_with_that_field_alone() -> None:
    world = World()
    world.set("x", mood="happy", place="pool", partner="y")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="sad")
    world.unset("x", "partner")
    (frame,) = viewer.settle()
    assert frame["agents"] == {"x": {"set": {"mood": "sad"}, "unset": ["partner"], "at": 50.0}}
    assert (frame["from"], frame["to"]) == (1, 3)
    assert viewer.shown() == {"x": {"mood": "sad", "place": "pool"}}


def test_what_changes_nothing_sends_nothing() -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="happy")
    world.unset("x", "nothing")
    world.remove("nobody")
    assert viewer.settle() == []


def test_a_field_that_comes_back_is_no_tombstone_any_more() -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    world.unset("x", "mood")
    world.set("x", mood="sad")
    (frame,) = viewer.settle()
    assert frame["agents"]["x"] == {"set": {"mood": "sad"}, "at": 50.0}
    assert viewer.shown() == {"x": {"mood": "sad"}}


def test_a_projection_is_told_of_its_fields_alone() -> None:
    world = World()
    world.set("x", mood="happy", place="pool")
    viewer = world.viewer(MOOD)
    (frame,) = viewer.settle()
    assert frame["view"] == "mood"
    world.set("x", place="beach")
    assert viewer.settle() == []
    world.set("x", mood="sad")
    (frame,) = viewer.settle()
    assert frame["from"] == 1, "it begins where the view was told last"
    assert viewer.shown(MOOD) == {"x": {"mood": "sad"}}


def test_connections_at_the_same_positions_share_a_frame() -> None:
    world = World()
    world.set("x", mood="happy")
    first, second = world.viewer(A), world.viewer(A)
    first.settle()
    second.settle()
    world.set("x", mood="sad")
    assert first.session.live() is second.session.live()


def test_a_small_frame_from_an_older_position_serves_a_newer_one() -> None:
    world = World()
    world.set("x", mood="happy")
    behind, ahead = world.viewer(A), world.viewer(A)
    behind.settle()
    ahead.settle()
    world.set("x", mood="sad")
    ahead.settle()
    world.say("x")
    older = behind.session.live()
    assert ahead.session.live() is older
    ahead.settle()
    behind.settle()
    assert ahead.shown() == behind.shown() == {"x": {"mood": "sad"}}
    assert ahead.said() == behind.said() == [3]


def test_a_newer_frame_does_not_serve_an_older_position() -> None:
    world = World()
    world.set("x", mood="happy")
    behind, ahead = world.viewer(A), world.viewer(A)
    behind.settle()
    ahead.settle()
    world.set("x", mood="sad")
    ahead.settle()
    world.say("x")
    newer = ahead.session.live()
    assert behind.session.live() is not newer
    behind.settle()
    assert behind.shown() == {"x": {"mood": "sad"}}


# resume


def test_who_comes_back_gets_what_changed_alone() -> None:
    world = World()
    world.set("x", mood="happy", place="pool")
    world.set("y", mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="sad")
    world.remove("y")
    world.say("x")
    viewer.connect()
    (frame,) = viewer.settle()
    assert "reset" not in frame
    assert frame["agents"] == {"x": {"set": {"mood": "sad"}, "at": 50.0}}
    assert frame["removed"] == ["y"]
    assert viewer.said() == [5]
    assert viewer.mirrors[A].missed == 0


def test_who_comes_back_to_nothing_new_is_told_so() -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    viewer.connect()
    (frame,) = viewer.settle()
    assert (frame["from"], frame["to"]) == (1, 1)
    assert "agents" not in frame
    assert viewer.mirrors[A].is_live


@pytest.mark.parametrize("since", [("other", 1), ("e", 99), ("", 1)])
def test_a_position_of_another_log_or_of_the_future_leads_to_a_reset(since: tuple[str, int]) -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.session = SyncSession(world.renderer)
    viewer.session.subscribe({A: since})
    (frame,) = viewer.settle()
    assert frame["reset"] is True
    assert viewer.shown() == {"x": {"mood": "happy"}}


def test_a_position_below_the_floor_leads_to_a_reset() -> None:
    world = World(max_tombstones=2)
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "stuv":
        world.set(name, mood="calm")
    for name in "stuv":
        world.remove(name)
    assert world.store.channel("a").floor > 1
    viewer.connect()
    frames = viewer.settle()
    assert frames[0]["reset"] is True
    assert viewer.shown() == {"x": {"mood": "happy"}}


def test_one_that_stayed_below_the_floor_starts_afresh() -> None:
    world = World(max_tombstones=2)
    for name in "stuvx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "stuv":
        world.remove(name)
    frames = viewer.settle()
    assert frames[0]["reset"] is True
    assert viewer.shown() == {"x": {"mood": "calm"}}


def test_events_that_the_ring_let_go_of_are_counted_as_missed() -> None:
    world = World(max_events=2)
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    for _ in range(5):
        world.say("x")
    viewer.settle()
    assert viewer.said() == [5, 6]
    assert viewer.mirrors[A].missed == 3


def test_events_lost_and_nothing_else_are_counted_too(small_parts: None) -> None:
    """Nothing is left in the ring when the pass gets there."""
    world = World(max_events=1)
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    first = world.say("x")
    viewer.session.fall_behind()
    world.say("y")  # beyond the target, and the first is gone
    assert world.store.channel("a").last_evicted == first
    viewer.settle()
    assert viewer.said() == [3]
    assert viewer.mirrors[A].missed == 1


# parts


def test_parts_move_no_position_and_the_last_frame_does(small_parts: None) -> None:
    world = World()
    for name in "uvwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    frames = viewer.settle()
    assert [frame.get("reset", False) for frame in frames] == [True, False, False, False, False][
        : len(frames)
    ]
    assert {frame["to"] for frame in frames[:-1]} == {0}
    assert all(frame["more"] for frame in frames[:-1])
    assert (frames[-1]["to"], "more" in frames[-1]) == (4, False)
    assert sorted(viewer.shown()) == ["u", "v", "w", "x"]


def test_a_cut_between_parts_begins_again(small_parts: None) -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "uvw":
        world.set(name, mood="calm")
    world.say("x")
    viewer.session.fall_behind()
    viewer.step()
    assert viewer.mirrors[A].position == 1
    viewer.connect()
    viewer.settle()
    assert sorted(viewer.shown()) == ["u", "v", "w", "x"]
    assert viewer.said() == [5]


def test_what_changes_during_a_pass_is_told_newest(small_parts: None) -> None:
    world = World()
    for name in "uvw":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.step()
    world.set("w", mood="wild")
    world.set("u", mood="tired")
    viewer.settle()
    assert viewer.shown() == {"u": {"mood": "tired"}, "v": {"mood": "calm"}, "w": {"mood": "wild"}}


def test_an_agent_removed_before_its_turn_is_gone_before_its_events(small_parts: None) -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("w", mood="calm")
    world.set("x", mood="sad")
    world.say("x")
    viewer.session.fall_behind()
    viewer.step()
    assert "w" in viewer.shown()
    world.remove("x")
    shown_at_event: list[Any] = []
    while (frame := viewer.step()) is not None:
        if frame.get("events"):
            shown_at_event.append(viewer.shown().get("x"))
    assert shown_at_event == [None], "not happy: it was sad, and then gone, before it spoke"


def test_an_agent_removed_and_back_during_a_pass_is_told_whole(small_parts: None) -> None:
    world = World()
    world.set("x", mood="happy", place="pool")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("w", mood="calm")
    world.set("x", mood="sad")
    world.say("x")
    viewer.session.fall_behind()
    viewer.step()
    world.remove("x")
    world.set("x", mood="new")
    viewer.settle()
    assert viewer.shown()["x"] == {"mood": "new"}


def test_compaction_during_a_pass_loses_nothing(small_parts: None) -> None:
    world = World(max_tombstones=2)
    for name in "rstuv":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "rstuv":
        world.set(name, mood="wild")
    viewer.session.fall_behind()
    viewer.step()
    for name in "rstu":
        world.remove(name)
    assert world.store.channel("a").floor > viewer.mirrors[A].position
    viewer.settle()
    assert viewer.shown() == {"v": {"mood": "wild"}}


def test_compaction_past_the_target_is_told_before_the_events(small_parts: None) -> None:
    world = World(max_tombstones=2)
    for name in "rstuv":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("v", mood="wild")
    world.say("v")
    viewer.session.fall_behind()
    viewer.step()  # all states are told, the event is not
    for name in "rstu":
        world.remove(name)
    assert world.store.channel("a").floor > 7
    viewer.settle()
    assert viewer.shown() == {"v": {"mood": "wild"}}


def test_events_in_parts_move_the_position_one_by_one(small_parts: None) -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    offsets = [world.say("x") for _ in range(3)]
    viewer.session.fall_behind()
    told = []
    while (frame := viewer.step()) is not None:
        told.append(frame["to"])
    assert told == offsets
    assert viewer.said() == offsets
    assert viewer.mirrors[A].missed == 0


# several channels


def test_states_of_all_channels_come_before_events_of_any() -> None:
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    world.set("x", "ab", mood="sad")
    world.say("x", "a")
    world.say("x", "b")
    frames = viewer.settle()
    kinds = [("agents" in frame, "events" in frame) for frame in frames]
    assert kinds == [(True, False), (True, False), (False, True), (False, True)]


def test_an_agents_events_in_two_channels_keep_their_order() -> None:
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    for channel in "abab":
        world.say("x", channel)
    frames = viewer.settle()
    assert [(f["channel"], f["to"]) for f in frames] == [("a", 2), ("b", 3), ("a", 4), ("b", 5)]


def test_they_keep_it_in_a_pass_too(small_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_session, "PART_CHARS", 10_000)
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    for channel in "aabba":
        world.say("x", channel)
    viewer.session.fall_behind()
    told = []
    while (frame := viewer.step()) is not None:
        told += [event["offset"] for event in frame.get("events", ())]
    assert told == [2, 3, 4, 5, 6]


def test_shared_frames_that_were_interrupted_are_told_anew() -> None:
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    for channel in "abab":
        world.say("x", channel)
    live = viewer.session.live()
    assert live is not None
    viewer.take(live.frames[0])
    world.set("x", "a", mood="sad")
    viewer.session.sent(live, 1)
    viewer.settle()
    assert viewer.said(A) == [2, 4]
    assert viewer.said(B) == [3, 5]
    assert viewer.shown(A)["x"] == {"mood": "sad"}


def test_a_channel_that_is_left_is_not_told_of_any_more() -> None:
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    world.set("x", "ab", mood="sad")
    live = viewer.session.live()
    assert live is not None
    viewer.take(live.frames[0])
    viewer.session.unsubscribe(["b"])
    viewer.session.sent(live, 1)
    viewer.settle()
    assert viewer.shown(A)["x"] == {"mood": "sad"}
    assert viewer.shown(B)["x"] == {"mood": "happy"}
    assert viewer.session.channels == ("a",)


@pytest.mark.parametrize("left", ["a", "b"])
def test_leaving_a_channel_after_shared_frames_keeps_the_others_position(left: str) -> None:
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    world.set("x", "a", mood="sad")
    world.set("x", "b", mood="sad")
    live = viewer.session.live()
    assert live is not None
    for frame in live.frames:
        viewer.take(frame)
    viewer.session.unsubscribe([left])
    viewer.session.sent(live, 2)
    assert viewer.session.positions == ((3,) if left == "a" else (2,))


# urgent


def test_an_urgent_agent_overtakes_a_snapshot(small_parts: None) -> None:
    world = World()
    for name in "tuvwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.step()
    world.set("x", priority=CRITICAL, mood="fire")
    frame = viewer.step()
    assert frame is not None
    assert frame["urgent"] is True
    assert viewer.shown()["x"] == {"mood": "fire"}
    viewer.settle()
    assert len(viewer.shown()) == 5


def test_urgent_events_come_once(small_parts: None) -> None:
    world = World()
    for name in "tuvwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "tuvwx":
        world.set(name, mood="wild")
    world.say("x")
    viewer.session.fall_behind()
    viewer.step()
    world.say("x", priority=CRITICAL)
    frame = viewer.step()
    assert frame is not None
    assert frame["urgent"] is True
    assert viewer.said() == [11], "its events since the position, in order, in parts"
    viewer.step()
    frame = viewer.step()
    assert frame is not None
    assert frame["urgent"] is True
    assert viewer.said() == [11, 12]
    viewer.settle()
    assert viewer.said() == [11, 12]
    assert viewer.mirrors[A].missed == 0


def test_urgent_agents_do_not_starve_the_others(small_parts: None) -> None:
    world = World()
    for name in "tuvwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    frames = []
    for count in range(40):
        world.set("x", priority=CRITICAL, mood=count)
        frame = viewer.step()
        if frame is None:
            break
        frames.append(frame)
    assert frame is None, "the pass ended"
    assert sum(bool(frame.get("urgent")) for frame in frames) >= 4


def test_an_urgent_removal_is_told_in_a_pass(small_parts: None) -> None:
    world = World()
    for name in "tuvwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "tuvw":
        world.set(name, mood="wild")
    viewer.session.fall_behind()
    viewer.step()
    world.remove("x", priority=CRITICAL)
    frame = viewer.step()
    assert frame is not None
    assert frame["removed"] == ["x"]
    viewer.settle()
    assert sorted(viewer.shown()) == ["t", "u", "v", "w"]


# the self-check


def test_now_and_then_a_frame_carries_agents_whole_in_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_live, "CHECK_SHARE", 0)
    world = World()
    for name in "xyz":
        world.set(name, text="." * 3000)
    viewer = world.viewer(A)
    viewer.settle()
    checked = []
    for count in range(4):
        world.now += sync_live.CHECK_EVERY_S
        world.set("x", mood=count)
        (frame,) = viewer.settle()
        assert frame["check"]["count"] == 3
        checked += list(frame["check"]["agents"])
    assert checked[:4] == ["x", "y", "z", "x"]
    world.set("x", mood="more")
    assert "check" not in viewer.settle()[0]


def test_the_self_check_is_a_small_part_of_what_is_told() -> None:
    """However slow a reader is: one whose frames come each ten seconds would be sent whole agents in each of them."""
    world = World()
    world.set("x", text="." * 3000, n=0)
    viewer = world.viewer(A)
    viewer.settle()
    plain = checks = unchecked = 0
    for count in range(1, 1001):
        world.now += sync_live.CHECK_EVERY_S
        world.set("x", text="." * 3000, n=count)
        (frame,) = viewer.settle()
        check = len(json.dumps(frame.pop("check", None) or {}))
        plain += len(json.dumps(frame))
        checks += check if check > 2 else 0
        unchecked += check <= 2
    # Frames are measured with some reserve, and there is one check at the beginning.
    assert 0 < checks <= 2 * plain / sync_live.CHECK_SHARE + 3100
    assert unchecked > 900


def test_a_view_without_agents_is_not_checked_and_owes_nothing() -> None:
    world = World()
    viewer = world.viewer(A)
    viewer.settle()
    world.say("x")
    assert "check" not in viewer.settle()[0]
    world.set("x", mood="happy")
    assert viewer.settle()[0]["check"]["count"] == 1


def test_a_mirror_repairs_itself_and_says_so() -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    viewer.shown()["x"]["mood"] = "wrong"
    world.now += sync_live.CHECK_EVERY_S
    world.say("x")
    viewer.settle()
    assert viewer.shown() == {"x": {"mood": "happy"}}
    assert viewer.mirrors[A].repaired == 1


# what a client can make the server do


def looking(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The agents that are looked at from now on."""
    looked_at: list[str] = []
    change = sync_session.FrameBuilder.change

    def counted(builder: Any, agent: Any, since: int) -> bool:
        looked_at.append(agent.agent_id)
        return change(builder, agent, since)

    monkeypatch.setattr(sync_session.FrameBuilder, "change", counted)
    return looked_at


def test_a_projection_that_shows_nothing_looks_at_few_agents_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One such subscription among many agents would else hold the loop for as long as all of them take."""
    monkeypatch.setattr(sync_session, "MAX_LISTED_AGENTS", 4)
    monkeypatch.setattr(sync_session, "MAX_LOOKED_AT_AGENTS", 10)
    world = World()
    for number in range(95):
        world.set(f"x{number}", other=0)
    viewer = world.viewer(MOOD)
    viewer.settle()
    for number in range(95):
        world.set(f"x{number}", other=1)
    viewer.connect()
    looked_at = looking(monkeypatch)
    at_most, frames = 0, 0
    while viewer.step() is not None:
        at_most, frames = max(at_most, len(looked_at)), frames + 1
        looked_at.clear()
    assert at_most <= 10
    assert frames == 10
    assert "more" not in viewer.frames[-1]
    assert viewer.mirrors[MOOD].is_live


def test_agents_that_did_not_change_are_passed_over_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_session, "MAX_LISTED_AGENTS", 4)
    monkeypatch.setattr(sync_session, "MAX_LOOKED_AT_AGENTS", 10)
    world = World()
    for number in range(95):
        world.set(f"x{number}", mood=0)
    viewer = world.viewer(A)
    viewer.settle()
    for number in range(90, 95):
        world.set(f"x{number}", mood=1)
    viewer.session.fall_behind()
    viewer.frames = []
    while viewer.step() is not None:
        pass
    assert len(viewer.frames) == 10
    assert [len(frame.get("agents", {})) for frame in viewer.frames] == [0] * 9 + [5]
    assert viewer.mirrors[A].is_live
    assert viewer.mirrors[A].agents["x94"] == {"mood": 1}


def test_after_a_part_the_view_is_told_that_it_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that was not asked for ends with a frame without `more`, though nothing is left to tell."""
    monkeypatch.setattr(sync_session, "PART_CHARS", 1)
    world = World()
    world.set("x", mood=0)
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood=1)
    viewer.session.fall_behind()
    while viewer.step() is not None:
        pass
    assert viewer.mirrors[A].is_live
    assert viewer.mirrors[A].position == world.store.head


def test_views_that_clients_make_up_are_forgotten_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_live, "MAX_CHECKED_VIEWS", 3)
    world = World()
    for number in range(10):
        viewer = world.viewer(View("a", (f"f{number}",)))
        viewer.settle()
        world.set("x", **{f"f{number}": number})
        viewer.settle()
    assert [view.name for view in world.renderer._checked] == ["f7", "f8", "f9"]


# what a pass tells, and what it does not


def outline(frames: list[dict[str, Any]]) -> list[str]:
    """Frames in short: channel, positions, what they are, what is in them."""
    flags, content = ("reset", "urgent", "more"), ("removed", "agents", "events")
    return [
        " ".join(
            [f"{frame['channel']} {frame['from']}-{frame['to']}"]
            + [key for key in (*flags, *content) if frame.get(key)]
        )
        for frame in frames
    ]


def finish(viewer: Viewer) -> list[str]:
    """The rest of a pass, in short."""
    frames = []
    while (frame := viewer.step()) is not None:
        frames.append(frame)
    return outline(frames)


def test_a_connection_on_no_channel_stands_at_the_head_and_hears_nothing() -> None:
    world = World()
    world.set("x", mood="happy")
    session = SyncSession(world.renderer)
    assert session.position == world.store.head, "nothing is made for it"
    assert not session.has_news()


def test_who_falls_behind_is_told_the_change_in_one_frame() -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="sad")
    viewer.session.fall_behind()
    assert finish(viewer) == ["a 1-2 agents"]
    assert viewer.shown() == {"x": {"mood": "sad"}}


@pytest.mark.parametrize("channel", ["a", "b"])
def test_views_without_news_are_not_mentioned_in_a_pass_that_nobody_asked_for(channel: str) -> None:
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    world.set("x", channel, mood="sad")
    world.say("x", channel)
    viewer.session.fall_behind()
    assert finish(viewer) == [f"{channel} 1-3 agents events"], "and what is alone is one frame"
    assert not viewer.session.has_news()


def test_of_the_other_views_none_is_told_twice_when_a_pass_begins_again() -> None:
    """A subscription in the middle of a pass: the view that was told everything has nothing more to say."""
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    assert outline([viewer.step() or {}]) == ["a 0-1 reset agents"]
    viewer.session.fall_behind()
    assert finish(viewer) == ["b 0-1 reset agents"]


def test_a_snapshot_that_begins_again_leaves_nothing_out(small_parts: None) -> None:
    world = World()
    for name in "vwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.step()
    viewer.session.fall_behind()
    assert finish(viewer)[0] == "a 0-0 reset more agents"
    assert sorted(viewer.shown()) == ["v", "w", "x"]


def test_changes_that_begin_again_are_still_changes_only(small_parts: None) -> None:
    world = World()
    for name in "vwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="wild")
    world.set("w", mood="wild")
    viewer.session.fall_behind()
    viewer.step()
    viewer.session.fall_behind()
    assert viewer.settle()[0]["agents"].keys() == {"x"}
    assert sorted(agent for frame in viewer.frames for agent in frame.get("agents", ())) == ["w", "x"]


def test_who_comes_back_is_told_to_be_up_to_date_though_another_channel_is_joined_before() -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    viewer.connect()
    viewer.mirrors[B] = Mirror()
    viewer.session.subscribe({B: None})
    assert finish(viewer) == ["a 1-1", "b 0-0 reset"]
    assert all(mirror.is_live for mirror in viewer.mirrors.values())


def test_joining_a_channel_leaves_the_others_as_they_were() -> None:
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    viewer.mirrors[B] = Mirror()
    viewer.session.subscribe({B: None})
    world.set("x", "ab", mood="sad")
    viewer.settle()
    assert viewer.session.channels == ("a", "b")
    assert viewer.shown(A) == viewer.shown(B) == {"x": {"mood": "sad"}}


def test_another_view_of_a_channel_takes_the_place_of_the_first() -> None:
    world = World()
    world.set("x", mood="happy", place="pool")
    viewer = world.viewer(A)
    viewer.settle()
    viewer.mirrors = {MOOD: Mirror()}
    viewer.session.subscribe({MOOD: None})
    viewer.settle()
    assert viewer.session.views == (MOOD,)
    assert viewer.shown(MOOD) == {"x": {"mood": "happy"}}


def test_leaving_a_channel_in_the_middle_of_a_pass_ends_what_it_tells(small_parts: None) -> None:
    world = World()
    for name in "vwx":
        world.set(name, "ab", mood="calm")
    viewer = world.viewer(A, B)
    viewer.step()
    del viewer.mirrors[B]
    viewer.session.unsubscribe(["b"])
    assert viewer.session.channels == ("a",)
    assert all(frame.startswith("a ") for frame in finish(viewer))
    assert sorted(viewer.shown()) == ["v", "w", "x"]


def test_leaving_a_channel_is_no_reason_for_a_pass() -> None:
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    viewer.session.unsubscribe(["b"])
    assert not viewer.session.has_news()
    assert viewer.session.positions == (1,)


def test_nothing_is_urgent_that_was_not_said_to_be(small_parts: None) -> None:
    """Nor what was urgent before the pass began, and has its turn in it."""
    world = World()
    for name in "vwx":
        world.set(name, priority=CRITICAL, mood="calm")
        world.say(name, priority=CRITICAL)
    viewer = world.viewer(A)
    assert not any("urgent" in frame for frame in viewer.settle())
    for name in "vwx":
        world.set(name, priority=CRITICAL, mood="wild")
        world.say(name, priority=CRITICAL)
    viewer.session.fall_behind()
    told = finish(viewer)
    assert len(told) == 6
    assert not any("urgent" in frame for frame in told)


def test_event_after_event_says_that_more_follows_until_the_last(small_parts: None) -> None:
    """Until then the view is not up to date, and must not show itself so."""
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    for _ in range(3):
        world.say("x")
    viewer.session.fall_behind()
    assert finish(viewer) == ["a 1-2 more events", "a 2-3 more events", "a 3-4 events"]


def test_an_event_after_a_pass_began_keeps_no_view_from_being_up_to_date(small_parts: None) -> None:
    """What comes above the target is told live: the last event below it ends the pass."""
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    for _ in range(2):
        world.say("x")
    viewer.session.fall_behind()
    assert outline([viewer.step() or {}]) == ["a 1-2 more events"]
    world.say("x")
    assert finish(viewer) == ["a 2-3 events"]
    assert viewer.session.has_news()


def test_states_with_more_events_than_fit_one_frame_come_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_session, "PART_CHARS", 400)
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="sad")
    for _ in range(3):
        world.say("x")
    viewer.session.fall_behind()
    assert finish(viewer) == ["a 1-1 more agents", "a 1-5 events"]
    assert viewer.shown() == {"x": {"mood": "sad"}}


def test_an_empty_channel_is_reset_also_by_a_pass_that_begins_again() -> None:
    """What the client held of it before must go away."""
    world = World()
    viewer = world.viewer(A)
    viewer.mirrors[B] = Mirror()
    viewer.session.subscribe({B: None})
    assert finish(viewer) == ["a 0-0 reset", "b 0-0 reset"]


# removals that are known, and those that are forgotten


def test_an_agent_that_went_and_came_back_shows_nothing_of_its_first_life(small_parts: None) -> None:
    world = World()
    world.set("x", mood="happy", place="pool")
    viewer = world.viewer(A)
    viewer.settle()
    world.remove("x")
    world.set("x", mood="new")
    viewer.session.fall_behind()
    viewer.step()
    assert viewer.shown() == {"x": {"mood": "new"}}


def test_an_agent_that_goes_and_comes_back_during_a_pass_is_back_before_its_events(small_parts: None) -> None:
    world = World()
    world.set("x", mood="happy", place="pool")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="sad")
    world.say("x")
    viewer.session.fall_behind()
    viewer.step()
    world.remove("x")
    world.set("x", mood="new")
    while (frame := viewer.step()) is not None and "events" not in frame:
        pass
    assert frame is not None
    assert viewer.shown() == {"x": {"mood": "new"}}


def test_a_snapshot_has_no_removals_of_agents_that_were_back_before_it() -> None:
    world = World()
    world.set("x", mood="happy")
    world.remove("x")
    world.set("x", mood="new")
    viewer = world.viewer(A)
    viewer.session.fall_behind()
    assert finish(viewer) == ["a 0-3 reset agents"]


def forget(world: World) -> None:
    """Has the channel's tombstones compacted, up to the second last of what goes here."""
    for name in ("lost 1", "lost 2", "lost 3"):
        world.set(name, mood="short")
    for name in ("lost 1", "lost 2", "lost 3"):
        world.remove(name)


def test_a_field_taken_off_while_a_snapshot_is_on_its_way_is_not_left_over(small_parts: None) -> None:
    """x was told, urgently, with a place that it lost; that it did so is forgotten when its turn comes."""
    world = World(max_tombstones=2)
    for name in "vwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.step()
    world.set("x", priority=CRITICAL, place="pool")
    frame = viewer.step()
    assert frame is not None
    assert frame["agents"]["x"]["set"]["place"] == "pool"
    world.unset("x", "place")
    forget(world)
    assert world.store.channel("a").floor > 5
    finish(viewer)
    assert viewer.shown() == {name: {"mood": "calm"} for name in "vwx"}


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_position_at_the_floor_itself_is_known_exactly(is_resumed: bool) -> None:
    world = World(max_tombstones=2)
    for name in "stux":
        world.set(name, mood="calm")
    world.remove("s")
    world.remove("t")
    viewer = world.viewer(A)
    viewer.settle()
    world.remove("u")
    assert world.store.channel("a").floor == viewer.mirrors[A].position
    if is_resumed:
        viewer.connect()
    else:
        viewer.session.fall_behind()
    assert finish(viewer) == ["a 6-7 removed"]


def test_removals_up_to_a_target_that_are_all_told_may_be_forgotten(small_parts: None) -> None:
    world = World(max_tombstones=2)
    for name in "stux":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    world.say("x")
    world.remove("s")
    target = world.remove("t")
    viewer.session.fall_behind()
    viewer.step()
    world.remove("u")
    assert world.store.channel("a").floor == target
    assert not any("reset" in frame for frame in finish(viewer))
    viewer.settle()
    assert viewer.shown() == {"x": {"mood": "calm"}}
    assert viewer.said() == [5]


def test_an_urgent_removal_is_told_from_the_floor_itself(small_parts: None) -> None:
    world = World(max_tombstones=2)
    for name in "stuvwx":
        world.set(name, mood="calm")
    world.remove("s")
    world.remove("t")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "vwx":
        world.set(name, mood="wild")
    viewer.session.fall_behind()
    viewer.step()
    world.remove("u", priority=CRITICAL)
    assert world.store.channel("a").floor == viewer.mirrors[A].position
    assert outline([viewer.step() or {}]) == ["a 8-8 urgent more removed"]


def test_a_view_that_starts_afresh_in_a_pass_leaves_the_others_their_places(small_parts: None) -> None:
    world = World(max_tombstones=2)
    world.set("x", "ab", mood="happy")
    world.say("x")
    viewer = world.viewer(A, B)
    viewer.settle()
    world.set("x", "b", mood="sad")
    forget(world)
    viewer.session.fall_behind()
    told = finish(viewer)
    assert told[0] == "a 0-0 reset more agents"
    assert told[-1] == "b 1-3"
    assert viewer.shown(A) == {"x": {"mood": "happy"}}
    assert viewer.shown(B) == {"x": {"mood": "sad"}}
    world.say("x")
    viewer.settle()
    assert viewer.mirrors[A].missed == 0, "how many events there were is told with the reset"


def test_a_view_that_starts_afresh_and_has_nothing_is_emptied() -> None:
    world = World(max_tombstones=2)
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    world.remove("x")
    forget(world)
    viewer.session.fall_behind()
    assert finish(viewer) == [f"a 0-{world.store.head} reset"]
    assert viewer.shown() == {}


def test_compaction_past_the_target_takes_nothing_away_that_did_not_change() -> None:
    world = World(max_tombstones=2)
    world.set("w", mood="calm")
    world.set("v", mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("v", mood="wild")
    world.say("v")
    viewer.session.fall_behind()
    world.say("w")
    assert outline([viewer.step() or {}]) == ["a 2-2 more agents"]  # all states, and no event
    forget(world)
    assert not any("reset" in frame for frame in finish(viewer))
    viewer.settle()
    assert viewer.shown() == {"w": {"mood": "calm"}, "v": {"mood": "wild"}}
    assert viewer.said() == [4, 5]


def test_all_that_went_during_a_pass_is_told_before_its_events_in_order(small_parts: None) -> None:
    world = World()
    for name in "stuvx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="sad")
    world.say("x")
    viewer.session.fall_behind()
    viewer.step()
    for name in "ustv":
        world.remove(name)
    viewer.frames = []
    finish(viewer)
    removed = [name for frame in viewer.frames for name in frame.get("removed", ())]
    assert removed == list("ustv")
    assert [bool(frame.get("events")) for frame in viewer.frames] == [False] * 4 + [True]


# events that the ring lets go of during a pass


def test_an_event_lost_after_the_states_were_told_is_counted_and_no_later_one() -> None:
    """`event_count` is how many events the channel ever had at `to`, however many came and went since."""
    world = World(max_events=2)
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="sad")
    world.say("x")
    viewer.session.fall_behind()
    world.set("y", mood="calm")
    assert outline([viewer.step() or {}]) == ["a 1-1 more agents"]
    for _ in range(3):
        world.say("x")
    frame = viewer.step()
    assert frame is not None
    assert (frame["to"], frame["event_count"], frame.get("events")) == (3, 1, None)
    viewer.settle()
    assert viewer.mirrors[A].missed == 2
    assert viewer.said() == [6, 7]


def test_an_event_that_was_told_may_be_lost_without_a_word() -> None:
    world = World(max_events=1)
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    told = world.say("x")
    viewer.settle()
    viewer.session.fall_behind()
    world.say("x")
    assert world.store.channel("a").last_evicted == told
    assert finish(viewer) == []
    viewer.settle()
    assert viewer.mirrors[A].missed == 0


def test_an_event_lost_of_a_view_that_was_told_nothing_is_counted_in_the_pass() -> None:
    world = World(max_events=1)
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    viewer.settle()
    world.say("x", "a")
    world.set("x", "b", mood="sad")
    viewer.session.fall_behind()
    assert outline([viewer.step() or {}]) == ["b 1-3 agents"]
    world.say("x", "a")
    assert finish(viewer) == ["a 1-3"]
    assert viewer.mirrors[A].missed == 1


# what says something of how long news takes


def test_what_an_urgent_part_told_before_is_no_news_in_its_turn(small_parts: None) -> None:
    """An acknowledgement of the second would say how long an agent waited that had been shown long ago."""
    world = World()
    for name in "wx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "wx":
        world.set(name, mood="wild")
    viewer.session.fall_behind()
    first = viewer.session.next_frame()
    world.set("x", priority=CRITICAL, mood="fire")
    urgent, again = viewer.session.next_frame(), viewer.session.next_frame()
    assert first is not None and urgent is not None and again is not None  # noqa: PT018
    assert first.queued
    assert urgent.is_urgent
    assert "fire" in again.text
    assert not again.queued


def test_all_parts_of_a_pass_without_anything_urgent_say_how_long_news_takes(small_parts: None) -> None:
    world = World()
    for name in "vwx":
        world.set(name, mood="calm")
    viewer = world.viewer(A)
    viewer.settle()
    for name in "vwx":
        world.set(name, mood="wild")
    viewer.session.fall_behind()
    for _ in "vwx":
        frame = viewer.session.next_frame()
        assert frame is not None
        assert frame.queued


# what is urgent in several channels


def test_urgent_states_of_all_channels_come_before_urgent_events_of_any(small_parts: None) -> None:
    world = World()
    for name in "vwx":
        world.set(name, "ab", mood="calm")
    viewer = world.viewer(A, B)
    viewer.settle()
    for name in "vw":
        world.set(name, "ab", mood="wild")
    viewer.session.fall_behind()
    viewer.step()
    world.set("x", "ab", mood="fire")
    world.say("x", "a", CRITICAL)
    world.say("x", "b", CRITICAL)
    assert [frame for frame in finish(viewer) if "urgent" in frame] == [
        "a 3-3 urgent more agents",
        "b 3-3 urgent more agents",
        "a 3-3 urgent more events",
        "b 3-3 urgent more events",
    ]


def test_an_urgent_part_of_a_snapshot_brings_no_old_event(small_parts: None) -> None:
    world = World()
    for name in "vwx":
        world.set(name, mood="calm")
    world.say("x")
    viewer = world.viewer(A)
    viewer.step()
    world.set("x", priority=CRITICAL, mood="fire")
    assert outline([viewer.step() or {}]) == ["a 0-0 urgent more agents"]
    viewer.settle()
    assert viewer.said() == []


def test_an_urgent_event_of_two_channels_overtakes_in_both(small_parts: None) -> None:
    world = World()
    for name in "vwx":
        world.set(name, "ab", mood="calm")
    viewer = world.viewer(A, B)
    viewer.settle()
    for name in "vw":
        world.set(name, "ab", mood="wild")
    viewer.session.fall_behind()
    viewer.step()
    world.say("x", "ab", CRITICAL)
    assert outline([viewer.step() or {}, viewer.step() or {}]) == [
        "a 3-3 urgent more events",
        "b 3-3 urgent more events",
    ]


def test_the_first_event_of_a_log_overtakes_with_the_others_of_its_agent(small_parts: None) -> None:
    world = World()
    viewer = world.viewer(A)
    viewer.settle()
    world.say("x")
    for name in "vw":
        world.set(name, mood="calm")
    viewer.connect()
    viewer.step()
    world.say("x", priority=CRITICAL)
    assert outline([viewer.step() or {}]) == ["a 0-0 urgent more events"]
    assert viewer.said() == [1]
    viewer.settle()
    assert viewer.said() == [1, 4]


def test_urgent_events_of_all_channels_together_are_no_more_than_a_part_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else whoever makes enough of them would keep the rest from its turn."""
    monkeypatch.setattr(sync_session, "PART_CHARS", 1000)
    world = World()
    for number in range(40):
        world.set(f"n{number}", mood="calm")
    world.set("x", "ab", mood="calm")
    viewer = world.viewer(A, B)
    viewer.settle()
    for number in range(40):
        world.set(f"n{number}", text="." * 900)
    viewer.session.fall_behind()
    viewer.step()
    for number in range(10):
        world.put(
            UpdateKind.EVENT, "x", {"n": world.store.head + 1, "text": "." * 300}, "ab"[number % 2], CRITICAL
        )
    in_a_row, most = 0, 0
    while (frame := viewer.step()) is not None:
        in_a_row = in_a_row + 1 if "urgent" in frame else 0
        most = max(most, in_a_row)
    assert most == 2
    assert len(viewer.said(A)) == len(viewer.said(B)) == 5
