"""What one sync connection is told: snapshots, changes as they come, frames it shares with others, self-checks."""

from __future__ import annotations

import json

import pytest

from django_update_pipeline.core import sync_live
from django_update_pipeline.core.view import View

from .sync_scene import MOOD, A, B, World

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


# what is shared


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


def test_views_that_clients_make_up_are_forgotten_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_live, "MAX_CHECKED_VIEWS", 3)
    world = World()
    for number in range(10):
        viewer = world.viewer(View("a", (f"f{number}",)))
        viewer.settle()
        world.set("x", **{f"f{number}": number})
        viewer.settle()
    assert [view.name for view in world.renderer._checked] == ["f7", "f8", "f9"]
