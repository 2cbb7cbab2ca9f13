"""What is CRITICAL overtakes in a pass, and keeps nobody from their turn (Law C3)."""

from __future__ import annotations

import pytest

from django_update_pipeline.core import sync_session
from django_update_pipeline.core.messages import UpdateKind

from .sync_scene import CRITICAL, A, B, World, finish, outline

# one channel


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


@pytest.mark.parametrize(("most", "first"), [(3, 3), (2, 0)])
def test_what_was_urgent_before_a_pass_goes_first_where_it_is_of_few(
    small_parts: None, monkeypatch: pytest.MonkeyPatch, most: int, first: int
) -> None:
    """Of many it has its turn with all the rest, and of a snapshot it is a part as any other."""
    monkeypatch.setattr(sync_session, "MAX_FIRST_AGENTS", most)
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
    assert len(told) == 6 + first
    assert ["urgent" in frame for frame in told][: 2 * first : 2] == [True] * first, (
        "they take turns with the rest"
    )
    assert sum("urgent" in frame for frame in told) == first


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


# several channels


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


@pytest.mark.parametrize("channels", ["b", "ab"])
def test_a_view_that_begins_afresh_is_reset_before_urgent_events_of_another(
    small_parts: None, channels: str
) -> None:
    """Where its agent is gone no urgent part is of that view; what is shown of it is older than the event."""
    world = World()
    world.set("x", "ab", mood=1)
    viewer = world.viewer(A, B)
    viewer.settle()
    world.remove("x")
    world.store.channels["a"].compact()
    world.say("x", channels, CRITICAL)
    viewer.session.fall_behind()
    while not viewer.said(B):
        viewer.step()
    assert viewer.shown(A) == {}
    assert not viewer.mirrors[A].is_live
    assert not any(frame.get("reset") for frame in viewer.settle())
