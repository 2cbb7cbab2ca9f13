"""A store, clients of it with their sync sessions, and short words for what happens to them."""

from __future__ import annotations

import json
from typing import Any

from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store
from django_update_pipeline.core.sync_live import SyncRenderer
from django_update_pipeline.core.sync_session import SyncSession
from django_update_pipeline.core.view import View
from django_update_pipeline.testing.mirror import Mirror

A, B = View("a"), View("b")
MOOD = View("a", ("mood",))
CRITICAL, NORMAL = UpdatePriority.CRITICAL, UpdatePriority.NORMAL
MANY = 30_000  # steps of one viewer


class World:
    """A store, and short words for what happens to it."""

    def __init__(self, **config: int) -> None:
        self.now = 100.0
        self.store = Store("e", StoreConfig(**config))
        self.renderer = SyncRenderer(self.store, lambda: self.now)
        self.batch = 0

    def put(
        self,
        kind: UpdateKind,
        agent_id: str,
        content: dict[str, Any],
        channels: str = "a",
        priority: UpdatePriority = NORMAL,
        unset: tuple[str, ...] = (),
    ) -> int:
        """One change, applied; its offset."""
        self.batch += 1
        text = json.dumps(content, separators=(",", ":")).encode()
        update_type = "said" if kind is UpdateKind.EVENT else "state_change"
        change = Change(kind, agent_id, tuple(channels), update_type, text, unset, 50.0, priority)
        self.store.apply(Publication(f"p{self.batch}", (change,)))
        return self.store.head

    def set(
        self, agent_id: str, channels: str = "a", priority: UpdatePriority = NORMAL, **fields: Any
    ) -> int:
        return self.put(UpdateKind.MERGE, agent_id, fields, channels, priority)

    def unset(self, agent_id: str, *names: str, channels: str = "a") -> int:
        return self.put(UpdateKind.MERGE, agent_id, {}, channels, NORMAL, names)

    def remove(self, agent_id: str, channels: str = "a", priority: UpdatePriority = NORMAL) -> int:
        return self.put(UpdateKind.REMOVE, agent_id, {}, channels, priority)

    def say(self, agent_id: str, channels: str = "a", priority: UpdatePriority = NORMAL) -> int:
        return self.put(UpdateKind.EVENT, agent_id, {"n": self.store.head + 1}, channels, priority)

    def viewer(self, *views: View) -> Viewer:
        return Viewer(self, views)


class Viewer:
    """A client and its session."""

    def __init__(self, world: World, views: tuple[View, ...]) -> None:
        self.world = world
        self.mirrors = {view: Mirror() for view in views}
        self.frames: list[dict[str, Any]] = []
        self.steps = 0
        self.connect()

    def connect(self) -> None:
        self.session = SyncSession(self.world.renderer)
        since = {view: mirror.since() for view, mirror in self.mirrors.items()}
        self.session.subscribe(
            {view: (at["epoch"], at["offset"]) if at else None for view, at in since.items()}
        )

    def step(self) -> dict[str, Any] | None:
        """One frame of a pass."""
        self.steps += 1
        assert self.steps < MANY, "it does not come to an end"
        frame = self.session.next_frame()
        return None if frame is None else self.take(frame)

    def take(self, sent: Any) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(sent.text)
        assert None not in frame.get("removed", ()), frame
        assert self.mirrors[sent.view].apply(frame), (
            f"{frame} begins after {self.mirrors[sent.view].position}"
        )
        self.frames.append(frame)
        return frame

    def settle(self) -> list[dict[str, Any]]:
        """Everything there is to tell; the frames."""
        self.frames = []
        while self.session.has_news():
            live = None if self.session.catch_up else self.session.live()
            if live is not None:
                self.steps += 1
                assert self.steps < MANY, "it does not come to an end"
                for frame in live.frames:
                    self.take(frame)
                self.session.sent(live, len(live.frames))
            elif self.session.catch_up is None:
                self.session.fall_behind()
            else:
                while self.step() is not None:
                    pass
        return self.frames

    def shown(self, view: View = A) -> dict[str, Any]:
        return self.mirrors[view].agents

    def said(self, view: View = A) -> list[int]:
        return [event["data"]["n"] for event in self.mirrors[view].events]


def outline(frames: list[dict[str, Any]]) -> list[str]:
    """Frames in short: channel, positions, what they are, what is in them."""
    flags, content = ("reset", "urgent", "more"), ("removed", "agents", "events")
    return [
        " ".join(
            [f"{frame['channel']} {frame['from']}-{frame['to']}"]
            + [key for key in (*flags, *content) if frame.get(key)]
        )
        for frame in frames
    ]


def finish(viewer: Viewer) -> list[str]:
    """The rest of a pass, in short."""
    frames = []
    while (frame := viewer.step()) is not None:
        frames.append(frame)
    return outline(frames)


def forget(world: World) -> None:
    """Has the channel's tombstones compacted, up to the second last of what goes here."""
    for name in ("lost 1", "lost 2", "lost 3"):
        world.set(name, mood="short")
    for name in ("lost 1", "lost 2", "lost 3"):
        world.remove(name)
