"""What a slow reader can't make grow, and what can't keep it from getting on: churn, and what is CRITICAL."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from django_update_pipeline.core import sync_session
from django_update_pipeline.core.view import View

from .sync_scene import CRITICAL, A, B, Viewer, World

PART = 600


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_session, "PART_CHARS", PART)


class Churn:
    """Agents that come and go, and fields that come and go, more between two frames than tombstones are kept."""

    def __init__(self, world: World, *, fields: bool = False) -> None:
        self.world = world
        self.fields = fields
        self.number = 0

    def turn(self) -> None:
        for _ in range(12):
            self.number += 1
            if self.fields:
                self.world.set("busy", **{f"f{self.number}": 1})
                self.world.unset("busy", f"f{self.number}")
            else:
                self.world.set(f"guest{self.number}", n=1)
                self.world.remove(f"guest{self.number}")


def take(viewer: Viewer, churn: Churn, frames: int) -> set[int]:
    """Takes so many frames, with churn after each; the positions at which the view was."""
    positions = set()
    for _ in range(frames):
        if viewer.step() is None:
            viewer.session.fall_behind()
        positions.add(viewer.mirrors[A].position)
        churn.turn()
    return positions - {0}


def resets(viewer: Viewer) -> int:
    return sum(1 for frame in viewer.frames if frame.get("reset"))


@pytest.mark.parametrize("fields", [False, True])
def test_a_slow_reader_gets_on_whatever_comes_and_goes(fields: bool) -> None:
    """Each compaction began its snapshot anew, so a reader slower than that never saw anything else."""
    world = World(max_tombstones=8)
    for number in range(40):
        world.set(f"agent{number}", text="x" * 100)
    world.set("busy", n=0)
    viewer = world.viewer(A)
    churn = Churn(world, fields=fields)
    assert take(viewer, churn, 30), "the snapshot is complete"
    for number in range(6):
        world.set("agent7", text="changed", **{f"other{number}": number})
        world.unset("agent7", f"other{number - 1}")
        world.remove(f"agent{number}")
        before = viewer.mirrors[A].position
        assert max(take(viewer, churn, 12)) > before, "and it gets on from there"
    assert resets(viewer) == 1
    run(viewer)
    assert resets(viewer) == 1
    assert viewer.shown() == states(world)
    assert viewer.mirrors[A].is_live


def states(world: World, view: View = A) -> dict[str, Any]:
    return {agent: json.loads(text) for agent, text in world.store.states(view.channel).items()}


def test_what_was_told_and_went_is_gone_in_the_end() -> None:
    """Agents told early, whose removal nobody remembers when the pass ends."""
    world = World(max_tombstones=8)
    for number in range(40):
        world.set(f"agent{number}", text="x" * 100, extra=1)
    viewer = world.viewer(A)
    churn = Churn(world)
    viewer.step()
    viewer.step()
    assert "agent1" in viewer.shown()
    world.remove("agent1")
    world.unset("agent2", "extra")
    world.remove("agent3")
    world.set("agent3", back=True)
    world.remove("agent3")
    churn.turn()
    world.set("agent3", back=True)
    churn.turn()
    assert "agent1" not in world.store.channel("a").removed
    take(viewer, churn, 30)
    assert "agent1" not in viewer.shown()
    assert "extra" not in viewer.shown()["agent2"]
    assert viewer.shown()["agent3"] == {"back": True}


def test_a_reader_keeps_no_more_than_the_agents_it_knows() -> None:
    """One that stands still while guests come and go for hours remembers nothing of them."""
    world = World(max_tombstones=8)
    for number in range(40):
        world.set(f"agent{number}", text="x" * 100)
    viewer = world.viewer(A)
    viewer.step()
    churn = Churn(world)
    for _ in range(100):
        churn.turn()
    assert viewer.session.catch_up is not None
    (turn,) = viewer.session.catch_up.turns
    assert len(turn.reader.lost) == 0
    for number in range(40):
        world.remove(f"agent{number}")
    for _ in range(100):
        churn.turn()
    assert len(turn.reader.lost) == 40


def test_a_reader_that_ended_is_told_nothing_more() -> None:
    world = World(max_tombstones=8)
    world.set("x", n=1)
    viewer = world.viewer(A)
    assert len(world.store.channel("a").readers) == 1
    viewer.settle()
    assert len(world.store.channel("a").readers) == 0
    viewer.session.fall_behind()
    assert len(world.store.channel("a").readers) == 1
    del viewer
    assert len(world.store.channel("a").readers) == 0


# what is CRITICAL


def urgent(viewer: Viewer) -> list[dict[str, Any]]:
    return [frame for frame in viewer.frames if frame.get("urgent")]


@pytest.fixture
def crowd() -> World:
    world = World()
    for number in range(60):
        world.set(f"agent{number:02}", text="x" * 100)
    return world


def sizes(viewer: Viewer) -> list[int]:
    return [len(json.dumps(frame, separators=(",", ":"))) for frame in viewer.frames]


def run(viewer: Viewer) -> None:
    """Takes everything, and keeps all frames."""
    while viewer.session.has_news():
        if viewer.session.catch_up is None:
            viewer.session.fall_behind()
        viewer.step()


def test_many_urgent_agents_are_told_in_parts(crowd: World) -> None:
    """A frame could be as large as all that was CRITICAL since the last one."""
    viewer = crowd.viewer(A)
    viewer.step()
    for number in range(60):
        crowd.set(f"agent{number:02}", "a", CRITICAL, text="y" * 100)
    run(viewer)
    assert len(urgent(viewer)) > 5
    assert max(sizes(viewer)) < PART + 400
    told = [agent for frame in urgent(viewer) for agent in frame.get("agents", ())]
    assert told == sorted(told), "in the order in which they became urgent"
    assert viewer.shown() == states(crowd)


def test_an_urgent_agents_many_events_are_told_in_parts_and_once_each(crowd: World) -> None:
    viewer = crowd.viewer(A, B)
    crowd.set("agent05", "b", n=1)
    viewer.step()
    said = [crowd.say("agent05", "ab" if number % 3 else "a") for number in range(40)]
    crowd.set("agent05", "ab", CRITICAL, alarm=True)
    said.append(crowd.say("agent05", "ab", CRITICAL))
    other = crowd.say("agent50", "ab")
    run(viewer)
    assert len(urgent(viewer)) > 5
    assert max(sizes(viewer)) < PART + 400
    first = next(place for place, frame in enumerate(viewer.frames) if frame.get("events"))
    assert any(
        "alarm" in frame["agents"]["agent05"]["set"]
        for frame in viewer.frames[: first + 1]
        if "agent05" in frame.get("agents", {})
    )
    assert viewer.said() == [*said, other]
    assert viewer.said(B) == [n for place, n in enumerate(said) if place % 3 or place == 40] + [other]
    assert viewer.mirrors[A].missed == viewer.mirrors[B].missed == 0
    assert viewer.shown() == states(crowd)


def test_others_get_on_between_the_parts_of_one_that_is_urgent(crowd: World) -> None:
    viewer = crowd.viewer(A)
    viewer.step()
    for _ in range(40):
        crowd.say("agent05")
    crowd.say("agent05", "a", CRITICAL)
    kinds = []
    while viewer.session.catch_up is not None and (frame := viewer.step()) is not None:
        kinds.append(bool(frame.get("urgent")))
    assert sum(kinds) > 3
    assert not any(one and other for one, other in itertools.pairwise(kinds)), kinds


def test_an_urgent_removal_that_nobody_remembers_is_told_before_its_events() -> None:
    world = World(max_tombstones=8)
    for number in range(40):
        world.set(f"agent{number}", text="x" * 100)
    viewer = world.viewer(A)
    viewer.step()
    assert "agent0" in viewer.shown()
    world.remove("agent0")
    Churn(world).turn()
    assert "agent0" not in world.store.channel("a").removed
    world.say("agent0", "a", CRITICAL)
    frame = viewer.step()
    assert frame is not None
    assert frame["urgent"] is True
    assert frame["removed"] == ["agent0"]
    assert len(frame["events"]) == 1
    assert "agent0" not in viewer.shown()
