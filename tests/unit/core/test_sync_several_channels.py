"""A sync connection on several channels: states of all before events of any, and one order of events."""

from __future__ import annotations

import json

import pytest

from django_update_pipeline.core import sync_session

from .sync_scene import A, B, World, finish, outline


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


def test_who_is_told_that_more_follows_is_told_the_rest() -> None:
    """A part shared with one who was further, and then interrupted, was the last it was told: a page stale for ever."""
    world = World()
    behind, further = world.viewer(A, B), world.viewer(A, B)
    behind.settle()
    further.settle()
    world.say("x")
    world.set("x", mood=1)
    further.settle()
    world.say("y", "b")
    shared = behind.session.live()
    assert shared is not None
    assert outline([json.loads(frame.text) for frame in shared.frames]) == [
        "a 0-0 more agents",
        "a 0-2 events",
        "b 0-3 events",
    ]
    own = further.session.live()
    assert own is not None
    further.take(own.frames[0])
    further.session.sent(own, 1)
    further.settle()
    assert all(mirror.is_live for mirror in further.mirrors.values())
