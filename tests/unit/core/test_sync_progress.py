"""What a client can make the server do for one frame: look at few agents, and come to an end (Law C8)."""

from __future__ import annotations

from typing import Any

import pytest

from django_update_pipeline.core import sync_session

from .sync_scene import MOOD, A, World


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
