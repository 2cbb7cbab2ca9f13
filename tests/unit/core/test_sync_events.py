"""Events of a sync connection that the ring lets go of: each is counted as missed, once, and none is that was told."""

from __future__ import annotations

from .sync_scene import A, B, World, finish, outline


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
