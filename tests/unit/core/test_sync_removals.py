"""Agents that go, and come back, while a sync connection is being told: removals remembered and forgotten."""

from __future__ import annotations

from typing import Any

from .sync_scene import CRITICAL, A, B, World, finish, forget, outline

# removals that are known


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


# removals that are forgotten


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
