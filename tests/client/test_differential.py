"""The TypeScript mirror and the Python one end with the same: random histories of the real store and sessions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.sync_frames import SyncFrame
from django_update_pipeline.testing.mirror import Mirror
from tests.property import test_sync_laws as laws

from .conftest import Node

WORLDS = 600
STEPS = 70
NAMES = ("f", "g", "h", "__proto__", "constructor", "ünï", "", "7")


class Recorded(Mirror):
    """A mirror and the frames that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    @property
    def end(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "position": self.position,
            "missed": self.missed,
            "repaired": self.repaired,
            "isLive": self.is_live,
            "agents": self.agents,
            "events": self.events,
        }


class World(laws.SyncMachine):
    """The writers, cuts and views of the laws' state machine, with values of all kinds."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.dice = dice
        self.mirrors: list[Recorded] = []

    def value(self, depth: int = 0) -> Any:
        dice = self.dice
        kind = dice.randrange(6 if depth > 1 else 8)
        if kind == 6:
            return [self.value(depth + 1) for _ in range(dice.randrange(3))]
        if kind == 7:
            return {dice.choice(NAMES): self.value(depth + 1) for _ in range(dice.randrange(3))}
        return (None, True, False, dice.randrange(4), dice.random() - 0.5, "x" * dice.randrange(3))[kind]

    def publish(
        self, kind: UpdateKind, agent_id: str, channels: tuple[str, ...], fields: Any, priority: int
    ) -> None:
        self.number += 1
        dice = self.dice
        content: dict[str, Any] = {}
        unset: tuple[str, ...] = ()
        if kind is laws.EVENT:
            content = {"n": self.number}
        elif kind is not laws.REMOVE:
            content = {name: self.value() for name in dice.sample(NAMES, dice.randrange(4))}
            if kind is laws.MERGE:
                unset = tuple(name for name in dice.sample(NAMES, 2) if name not in content)
        change = Change(
            kind,
            agent_id,
            channels,
            "said" if kind is laws.EVENT else "state_change",
            json.dumps(content, separators=(",", ":")).encode(),
            unset,
            float(self.number),
            UpdatePriority(priority),
        )
        self.store.apply(Publication(f"p{self.number}", (change,)))

    def step(self) -> None:
        dice = self.dice
        what = dice.random()
        channels = dice.choice(laws.PLACES)
        agent_id = dice.choice(laws.AGENTS)
        viewer = dice.choice(self.viewers)
        if what < 0.35:
            kind = dice.choice((laws.REPLACE, laws.MERGE, laws.MERGE, laws.REMOVE))
            self.publish(kind, agent_id, channels, None, dice.choice((0, 2, 2)))
        elif what < 0.5:
            self.publish(laws.EVENT, agent_id, channels, None, dice.choice((0, 2)))
        elif what < 0.56:
            viewer.subscribe(dice.choice(laws.VIEWS))
        elif what < 0.6:
            viewer.connect()
        elif what < 0.62:
            self.now += 5.0
        elif what < 0.63:
            self.new_log(f"e{self.number}")
            for one in self.viewers:
                one.connect()
        else:
            for _ in range(dice.randrange(1, 4)):
                viewer.write()

    def run(self) -> None:
        self.begin(self.dice.choice((2, 5, 1000)), self.dice.choice((3, 1000)))
        for _ in range(2):
            viewer = laws.Viewer(self)
            self.viewers.append(viewer)
            viewer.subscribe(self.dice.choice(laws.VIEWS))
        for _ in range(STEPS):
            self.step()
        for viewer in self.viewers:
            for _ in range(10_000):
                if not viewer.write():
                    break
            for view, mirror in viewer.mirrors.items():
                channel = self.store.channel(view.channel)
                assert mirror.agents == {
                    agent_id: laws.projected(json.loads(agent.text()), view)
                    for agent_id, agent in channel.agents.items()
                }


def recording_viewer(world: World) -> Any:
    """Has viewers keep what they get."""

    def new() -> Recorded:
        mirror = Recorded()
        world.mirrors.append(mirror)
        return mirror

    def receive(viewer: laws.Viewer, sent: SyncFrame) -> None:
        mirror = viewer.mirrors[sent.view]
        assert isinstance(mirror, Recorded)
        mirror.texts.append(sent.text)
        assert mirror.apply(json.loads(sent.text))

    return mock.patch.multiple(laws, Mirror=new), mock.patch.object(laws.Viewer, "receive", receive)


def histories() -> Iterator[Recorded]:
    for seed in range(WORLDS):
        world = World(random.Random(seed))
        names, receiving = recording_viewer(world)
        try:
            with names, receiving:
                world.run()
        finally:
            world.teardown()
        yield from world.mirrors


@pytest.mark.slow
def test_random_histories_end_with_the_same_in_both_languages(node: Node) -> None:
    recorded = [mirror for mirror in histories() if mirror.texts]
    assert sum(mirror.is_live for mirror in recorded) > 2000
    # What makes a history worth it: each of these was in some.
    for part in ('"reset":true', '"more":true', '"urgent":true', '"removed"', '"unset"', '"check"', '"view"'):
        assert any(part in text for mirror in recorded for text in mirror.texts), part
    assert any(mirror.missed for mirror in recorded)
    text = "\n".join(json.dumps(mirror.texts) for mirror in recorded)
    ends = [json.loads(line) for line in node("test/replay.mjs", text=text).splitlines()]
    assert len(ends) == len(recorded)
    for mirror, end in zip(recorded, ends, strict=True):
        end["agents"] = dict(end["agents"])
        if not mirror.is_live:  # left in the middle of a snapshot, which is not shown before it is complete
            end["agents"] = mirror.agents
        assert end == mirror.end, mirror.texts
