"""A pass of a sync connection through the store: its parts, its end, and what happens when it begins again."""

from __future__ import annotations

import pytest

from django_update_pipeline.core import sync_session

from .sync_scene import CRITICAL, A, B, World, finish, outline

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


# what a pass tells, and what it does not


def test_who_falls_behind_is_told_the_change_in_one_frame() -> None:
    world = World()
    world.set("x", mood="happy")
    viewer = world.viewer(A)
    viewer.settle()
    world.set("x", mood="sad")
    viewer.session.fall_behind()
    assert finish(viewer) == ["a 1-2 agents"]
    assert viewer.shown() == {"x": {"mood": "sad"}}


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


# beginning again


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


def test_of_the_other_views_none_is_told_twice_when_a_pass_begins_again() -> None:
    """A subscription in the middle of a pass: the view that was told everything has nothing more to say."""
    world = World()
    world.set("x", "ab", mood="happy")
    viewer = world.viewer(A, B)
    assert outline([viewer.step() or {}]) == ["a 0-1 reset agents"]
    viewer.session.fall_behind()
    assert finish(viewer) == ["b 0-1 reset agents"]


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
