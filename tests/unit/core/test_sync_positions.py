"""Where a sync connection begins and goes on: subscriptions, channels joined and left, coming back, resets."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.sync_session import SyncSession
from django_update_pipeline.testing.mirror import Mirror

from .sync_scene import MOOD, A, B, World, finish

# coming back


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


# resets


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


def test_an_empty_channel_is_reset_also_by_a_pass_that_begins_again() -> None:
    """What the client held of it before must go away."""
    world = World()
    viewer = world.viewer(A)
    viewer.mirrors[B] = Mirror()
    viewer.session.subscribe({B: None})
    assert finish(viewer) == ["a 0-0 reset", "b 0-0 reset"]


# joining and leaving


def test_a_connection_on_no_channel_stands_at_the_head_and_hears_nothing() -> None:
    world = World()
    world.set("x", mood="happy")
    session = SyncSession(world.renderer)
    assert session.position == world.store.head, "nothing is made for it"
    assert not session.has_news()


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
