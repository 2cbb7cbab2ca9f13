"""Bugs of the sync protocol's passes that the simulation found: each needed a slow reader and a full store at once."""

from __future__ import annotations

import pytest

from django_update_pipeline.core import sync_live, sync_session
from django_update_pipeline.core.credit import Credit
from django_update_pipeline.core.messages import UpdatePriority
from django_update_pipeline.core.sync_stream import SyncStream
from django_update_pipeline.core.view import View
from django_update_pipeline.testing.mirror import Mirror
from tests.unit.core.sync_scene import World

A, B = View("a"), View("b")
CRITICAL = UpdatePriority.CRITICAL


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each agent and event is a part of its own, and nothing is shared."""
    monkeypatch.setattr(sync_session, "PART_CHARS", 201)
    monkeypatch.setattr(sync_live, "MAX_LIVE_CHARS", 10)


def test_events_the_ring_lets_go_of_during_a_snapshot_are_counted() -> None:
    """The snapshot's end told how many events there were by then, and so those lost meanwhile were passed over."""
    world = World(max_events=2)
    world.set("x", mood=1)
    world.set("y", mood=1)
    viewer = world.viewer(A)
    viewer.step()
    for _ in range(4):
        world.say("x")
    viewer.settle()
    assert viewer.said() == [5, 6]
    assert viewer.mirrors[A].missed == 2


def test_the_first_event_of_a_channel_is_told_to_who_was_away_then() -> None:
    """Nothing had ever happened in the channel, so its position was 0, which also means that nothing is known.

    The page came back, got a snapshot, which has no events: what had happened meanwhile was neither told nor missed.
    """
    world = World()
    world.set("x", channels="a", mood=1)
    viewer = world.viewer(A, B)
    viewer.settle()
    assert viewer.mirrors[B].since() is not None
    world.say("x", channels="b")
    world.say("x", channels="b")
    viewer.connect()
    assert not any(frame.get("reset") for frame in viewer.settle())
    assert viewer.said(B) == [2, 3]
    assert viewer.mirrors[B].missed == 0
    # Also of one that had everything while it was connected, and comes back again.
    world.say("x", channels="b")
    viewer.connect()
    viewer.settle()
    assert viewer.said(B) == [2, 3, 4]


def test_no_urgent_event_comes_before_a_removal_that_was_compacted_away() -> None:
    world = World()
    for agent in "xyz":
        world.set(agent, mood=1)
    viewer = world.viewer(A)
    viewer.step()
    assert "x" in viewer.shown()
    world.remove("x")
    world.store.channels["a"].compact()
    world.say("x", priority=CRITICAL)
    while viewer.step() is not None:
        assert not viewer.said() or "x" not in viewer.shown()
    viewer.settle()
    assert set(viewer.shown()) == {"y", "z"}


def test_a_removal_that_was_compacted_away_is_told_though_the_frame_that_said_so_was_dropped() -> None:
    """Of several urgent frames the first was sent; then a subscription changed, and the pass began anew."""
    world = World()
    world.set("x", "ab", mood=1)
    world.set("y", "ab", mood=1)
    viewer = world.viewer(A, B)
    viewer.settle()
    world.set("y", "ab", mood=2)
    viewer.session.fall_behind()
    viewer.step()
    world.remove("x", "ab", CRITICAL)
    world.store.channels["b"].compact()
    frame = viewer.step()
    assert frame is not None
    assert (frame["channel"], frame["urgent"], frame["removed"]) == ("a", True, ["x"])
    viewer.session.unsubscribe(["a"])
    viewer.settle()
    assert set(viewer.shown(B)) == {"y"}


def test_an_agent_that_came_back_does_not_go_away_again_while_a_pass_begins_anew() -> None:
    """Its removal was told at the start, and its state parts later, though it was shown already."""
    world = World()
    world.set("x", mood=1, place=1)
    world.set("y", mood=1)
    viewer = world.viewer(A)
    viewer.settle()
    world.remove("x")
    world.set("y", mood=2)
    world.set("x", mood=2)
    world.say("y")
    viewer.session.fall_behind()
    viewer.step()
    viewer.step()
    assert viewer.shown()["x"] == {"mood": 2}
    viewer.connect()
    while viewer.step() is not None:
        assert viewer.shown()["x"] == {"mood": 2}


@pytest.mark.parametrize("is_removed", [False, True])
def test_what_an_urgent_part_told_of_an_agent_is_not_left_over_in_a_snapshot(is_removed: bool) -> None:
    """A snapshot says nothing of fields that are gone; but a client may know some from an urgent part."""
    world = World()
    world.set("w", mood=1)
    world.set("x", "b", mood=1)
    world.set("y", "b", mood=1)
    viewer = world.viewer(A, B)
    assert viewer.step()
    world.set("x", "b", priority=CRITICAL, mood=1, place=1)
    viewer.step()
    assert viewer.shown(B)["x"] == {"mood": 1, "place": 1}
    if is_removed:
        world.remove("x", "b")
        world.set("x", "b", mood=1)
    else:
        world.unset("x", "place", channels="b")
        world.store.channels["b"].compact()
    told = []
    while (frame := viewer.step()) is not None:
        if "x" in frame.get("agents", {}):
            told.append(viewer.shown(B)["x"])
    assert told
    assert all(state == {"mood": 1} for state in told)


def test_parts_stay_within_the_window_and_one_frame() -> None:
    """After an acknowledgement a part was sent on top of a window that was full already."""
    world = World()
    for number in range(40):
        world.set(f"agent{number}", text="t" * (1 if number == 0 else 500))
    credit = Credit(4096, 64)
    stream = SyncStream(world.renderer, credit, lambda: 0.0)
    stream.begin("a")
    while stream.catch_up is not None:
        while stream.has_room() and stream.next_text() is not None:
            assert credit.bytes_in_flight <= 4096 + 800
        if credit.asked is not None:
            credit.acknowledged(credit.asked.channel, credit.asked.offset, credit.asked.at)


def test_an_event_that_came_before_its_turn_does_not_come_again_after_a_reset() -> None:
    mirror = Mirror()
    event = {"offset": 9, "agent_id": "x", "update_type": "said", "data": {}, "timestamp": 1.0}
    frame = {"epoch": "e", "from": 0, "to": 0, "event_count": 0, "more": True}
    assert mirror.apply({**frame, "reset": True, "urgent": True, "events": [event]})
    assert mirror.apply({**frame, "reset": True, "to": 8, "more": False})
    assert mirror.apply({**frame, "from": 8, "to": 9, "more": False, "events": [event], "event_count": 1})
    assert mirror.events == [event]
    assert mirror.missed == 0
