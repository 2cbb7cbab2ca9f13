"""What a session makes of shared frames of which only the first were written."""

from __future__ import annotations

import pytest

from django_update_pipeline.core import sync_live
from django_update_pipeline.core.messages import UpdatePriority
from django_update_pipeline.core.sync_live import SyncLive

from .sync_scene import CRITICAL, NORMAL, A, B, Viewer, World


@pytest.fixture(autouse=True)
def _one_event_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_live, "PART_CHARS", 1)


def shared(viewer: Viewer) -> SyncLive:
    live = viewer.session.live()
    assert live is not None
    return live


def test_after_the_first_events_the_next_go_on_from_there() -> None:
    world = World()
    world.set("x", mood=1)
    viewer = world.viewer(A)
    viewer.settle()
    for _ in range(4):
        world.say("x")
    session = viewer.session
    session.sent(shared(viewer), 2)
    assert session.catch_up is None
    assert (session.position, session.positions) == (3, (3,))
    session.fall_behind()
    assert session.catch_up is not None
    assert not session.catch_up.is_news  # others at that place have been told, perhaps


def test_nothing_written_is_told_anew() -> None:
    """Also to who stands where nothing had ever happened."""
    world = World()
    viewer = world.viewer(A)
    viewer.settle()
    world.say("x")
    world.say("x")
    viewer.session.sent(shared(viewer), 0)
    assert viewer.session.catch_up is not None
    assert viewer.session.position == 0


@pytest.mark.parametrize("has_states", [False, True])
def test_all_written_is_at_the_head(has_states: bool) -> None:
    world = World()
    viewer = world.viewer(A)
    viewer.settle()
    if has_states:
        world.set("x", mood=1)
    world.say("x")
    live = shared(viewer)
    viewer.session.sent(live, len(live.frames))
    assert viewer.session.catch_up is None
    assert viewer.session.position == world.store.head


@pytest.mark.parametrize("priority", [NORMAL, CRITICAL])
@pytest.mark.parametrize("is_all_that_was_made", [False, True])
def test_what_is_urgent_in_the_rest_goes_first(
    priority: UpdatePriority, is_all_that_was_made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_all_that_was_made:
        monkeypatch.setattr(sync_live, "MAX_EVENT_CHARS", 1)
    world = World()
    viewer = world.viewer(A)
    viewer.settle()
    world.say("x")
    world.say("x")
    world.say("y", "a", priority)
    session, live = viewer.session, shared(viewer)
    viewer.take(live.frames[0])
    assert (len(live.frames) == 1) == is_all_that_was_made
    session.sent(live, 1)
    if priority is NORMAL:
        assert (session.catch_up, session.position) == (None, 1)
        return
    assert session.catch_up is not None
    assert session.catch_up.urgent == 1
    frame = viewer.step()
    assert frame is not None
    assert [event["offset"] for event in frame["events"]] == [3]
    assert frame["urgent"] is True


def test_a_frame_of_who_was_told_less_takes_no_position_back() -> None:
    world = World()
    viewer = world.viewer(A, B)
    viewer.settle()
    session = viewer.session
    behind = session.positions
    world.say("x", "a")
    world.say("x", "b")
    viewer.settle()
    world.say("x", "a")
    live = world.renderer.live(session.views, 0, behind)
    assert live is not None
    session.sent(live, 1)
    assert session.positions == (1, 2)


@pytest.mark.parametrize(("written", "is_news"), [(0, True), (1, False)])
def test_what_was_written_before_a_pass_began_is_no_news_in_it(written: int, is_news: bool) -> None:
    world = World()
    viewer = world.viewer(A)
    viewer.settle()
    world.say("x")
    live = shared(viewer)
    viewer.session.fall_behind()
    viewer.session.sent(live, written)
    assert viewer.session.catch_up is not None
    assert viewer.session.catch_up.is_news == is_news
