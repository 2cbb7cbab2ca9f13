"""Simulated browsers: they connect, subscribe, acknowledge, stall, are cut, come back, and judge what they are sent."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from django_update_pipeline.core.session import SYSTEM_CHANNEL
from django_update_pipeline.core.view import View
from django_update_pipeline.runtime.socket import ClassicSocket, SocketClient
from django_update_pipeline.runtime.sync_socket import SyncSocket

from .network import Line, Link
from .oracle import Judge, projected

if TYPE_CHECKING:
    from .world import World


class Viewer:
    """One browser: connects again whenever its connection is over, until it is told to go."""

    socket_type = ClassicSocket

    def __init__(self, world: World, name: str, random: Random) -> None:
        self.world = world
        self.name = name
        self.random = random
        self.line = Line.drawn(random)
        self.link: Link | None = None
        self.socket: ClassicSocket | None = None
        self.is_leaving = False
        self.paused_until = 0.0
        self.away_until = 0.0
        self.connected = 0
        self.is_greeted = False

    async def live(self) -> None:
        """Runs until it is told to leave."""
        loop = self.world.loop
        while not self.is_leaving:
            if loop.time() < self.away_until:
                await asyncio.sleep(min(self.away_until - loop.time(), 1.0))
                continue
            link = self.link = self.world.connect(self)
            if link is not None:
                self.connected += 1
                await self._read(link)
                self.link = None
            await asyncio.sleep(0.001 + self.random.random() * self.random.choice((0.0, 0.1, 2.0)))

    async def _read(self, link: Link) -> None:
        self.is_greeted = False
        self.on_connect()
        while (text := await link.next_text()) is not None:
            pause = self.paused_until - self.world.loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
                if link.is_cut:
                    return
            frame = json.loads(text)
            if not self.is_greeted:
                assert frame["type"] == "connection_established", f"{self.name}: the first frame is {frame}"
                self.is_greeted = True
                self.greeted(link)
            else:
                self.take(frame, link)

    def leave(self) -> None:
        """Hangs up for good."""
        self.is_leaving = True
        self.away_until = 0.0
        if self.link is not None:
            self.link.cut(0.0)

    def on_connect(self) -> None:
        """A connection begins."""

    def greeted(self, link: Link) -> None:
        """The server said who it is."""

    def take(self, frame: dict[str, Any], link: Link) -> None:
        """One frame came."""

    def act(self) -> None:
        """Does something of its own."""

    def lacks(self) -> str | None:
        """What it does not show yet, in words; None if it shows what is true."""
        return None


class SyncViewer(Viewer):
    """A client of the sync protocol: mirrors by channel, each under its judge."""

    socket_type = SyncSocket

    def __init__(self, world: World, name: str, random: Random) -> None:
        super().__init__(world, name, random)
        self.judges: dict[str, Judge] = {}
        self.expected: deque[tuple[str, tuple[str, ...]]] = deque()
        self.is_withdrawn = False  # the server took something off and this client does not know yet
        self.view_count = 0
        for channel in random.sample(world.channels, random.randint(1, len(world.channels))):
            self.judges[channel] = self._judge(channel)

    def _judge(self, channel: str) -> Judge:
        fields = self.world.projection() if self.random.random() < 0.3 else None
        return Judge(View(channel, fields), self.world.logs)

    def on_connect(self) -> None:
        self.expected.clear()
        self.is_withdrawn = False
        self.system = Judge(View(SYSTEM_CHANNEL), self.world.logs)

    def greeted(self, link: Link) -> None:
        if self.judges:
            self.subscribe(link, list(self.judges.values()))

    def subscribe(self, link: Link, judges: list[Judge]) -> None:
        """Asks for views from where their mirrors are."""
        since, fields = {}, {}
        for judge in judges:
            judge.is_told = False
            channel, at = judge.view.channel, judge.mirror.since()
            if at is not None:
                since[channel] = {**at, "view": judge.view.name}
            if judge.view.fields is not None:
                fields[channel] = list(judge.view.fields)
        channels = [judge.view.channel for judge in judges]
        self._ask(
            link, {"type": "subscribe", "channels": channels, "since": since, "fields": fields}, channels
        )

    def _ask(self, link: Link, frame: dict[str, Any], channels: list[str]) -> None:
        self.expected.append((frame["type"], tuple(channels)))
        link.say(frame)

    def _is_awaited(self, channel: str) -> bool:
        return any(channel in channels for _, channels in self.expected)

    def act(self) -> None:
        link = self.link
        if link is None or not self.is_greeted or self.is_withdrawn or self.expected:
            return
        channel = self.random.choice(self.world.channels)
        what = self.random.random()
        if channel not in self.judges or what < 0.3:
            self.judges[channel] = self._judge(channel)  # new, another projection, or the same afresh
            self.subscribe(link, [self.judges[channel]])
        elif what < 0.6:
            self.subscribe(link, [self.judges[channel]])  # again, from where it is
        else:
            del self.judges[channel]
            self._ask(link, {"type": "unsubscribe", "channels": [channel]}, [channel])

    def take(self, frame: dict[str, Any], link: Link) -> None:
        kind = frame["type"]
        if kind == "sync":
            self._sync(frame)
            if frame.get("ack"):
                link.say({"type": "ack", "channel": frame["channel"], "offset": frame["to"], "age_ms": 1})
        elif kind in {"subscription_confirmed", "unsubscription_confirmed"}:
            asked = "subscribe" if kind == "subscription_confirmed" else "unsubscribe"
            if self.expected and self.expected[0][0] == asked:
                channels = self.expected.popleft()[1]
                assert sorted(channels) == sorted(frame["channels"]), f"{self.name}: {frame} for {channels}"
            else:
                assert (asked, self.is_withdrawn) == ("unsubscribe", True), f"{self.name}: unasked {frame}"
                self.is_withdrawn = False
                for channel in frame["channels"]:
                    self.judges.pop(channel, None)
        else:
            assert (kind, frame.get("code")) == ("error", "channel_withdrawn"), (
                f"{self.name}: unexpected {frame}"
            )

    def _sync(self, frame: dict[str, Any]) -> None:
        channel = frame["channel"]
        if channel == SYSTEM_CHANNEL:
            self.system.apply(frame)
            return
        if self._is_awaited(channel):
            return  # of what was before, still on its way
        judge = self.judges.get(channel)
        assert judge is not None, f"{self.name}: a frame of {channel}, which it left"
        assert frame.get("view", "") == judge.view.name, f"{self.name}: a frame of another view: {frame}"
        self.world.count(frame, judge)
        for event in judge.apply(frame):
            for other in self.judges.values():
                is_whole = other.mirror._event_count is not None and other.is_told
                if other is not judge and is_whole and not self._is_awaited(other.view.channel):
                    assert event["offset"] in judge.log.by_offset
                    other.comes_after(event["agent_id"], event["offset"])

    def lacks(self) -> str | None:
        if self.link is None or not self.is_greeted or self.expected or self.is_withdrawn:
            return f"{self.name} is not connected or waits for an answer"
        for channel, judge in self.judges.items():
            truth = self.world.source.states.get(channel, {})
            shown = judge.mirror.agents
            if not judge.is_told or not judge.mirror.is_live:
                return f"{self.name}: {judge} is not live"
            if shown != {one: projected(state, judge.view) for one, state in truth.items()}:
                wrong = sorted(
                    one
                    for one in truth.keys() | shown.keys()
                    if shown.get(one) != projected(truth.get(one), judge.view)
                )
                one = wrong[0]
                return (
                    f"{self.name}: {judge} at {judge.mirror.position} shows {one} as {shown.get(one)!r:.200}, "
                    f"it is {truth.get(one)!r:.200}"
                )
            due = [e for e in judge.log.events if e.offset > max(judge._base or 0, judge.mirror.position)]
            if due:
                return f"{self.name}: {judge} waits for event {due[0]}"
        return None


class ClassicViewer(Viewer):
    """A client of the founding protocol: each `agent_update` replaces an agent."""

    def __init__(self, world: World, name: str, random: Random) -> None:
        super().__init__(world, name, random)
        self.wanted = {world.channels[0]}
        self.on_connect()

    def on_connect(self) -> None:
        self.channels = {self.world.channels[0]}
        self.agents: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self.is_busy = False

    def greeted(self, link: Link) -> None:
        if more := self.wanted - self.channels:
            self._subscribe(link, sorted(more))

    def _subscribe(self, link: Link, channels: list[str]) -> None:
        self.is_busy = True
        link.say({"type": "subscribe", "channels": channels})

    def act(self) -> None:
        link = self.link
        if link is None or not self.is_greeted or self.is_busy or len(self.world.channels) == 1:
            return
        channel = self.random.choice(self.world.channels[1:])
        if channel not in self.channels:
            self.wanted.add(channel)
            self._subscribe(link, [channel])

    def take(self, frame: dict[str, Any], link: Link) -> None:
        kind = frame["type"]
        if kind == "subscription_confirmed":
            self.is_busy = False
            self.channels |= set(frame["channels"])
        elif kind == "agent_update":
            self._update(frame["agent_id"], frame)
        else:
            assert kind == "system_notification", f"{self.name}: unexpected {frame}"

    def _update(self, agent_id: str, frame: dict[str, Any]) -> None:
        data = frame["data"]
        if frame["update_type"] == "state_removed":
            self.agents.pop(agent_id, None)
        elif "number" in data:
            number = data["number"]
            assert number > self.numbers.get(agent_id, -1), f"{self.name}: event {number} late or twice"
            self.numbers[agent_id] = number
            if len(self.channels) == 1 and not self.is_busy:
                channel = next(iter(self.channels))
                version, shown = data["after"].get(channel, 0), self.agents.get(agent_id)
                told = self.world.source.removed_at(channel, agent_id) if shown is None else shown["v"]
                assert told >= version, f"{self.name}: event {number} overtook state {version} of {agent_id}"
        else:
            if len(self.channels) == 1 and not self.is_busy:
                version = data["v"]
                assert version >= self.versions.get(agent_id, 0), f"{self.name}: {agent_id} went back"
                self.versions[agent_id] = version
            self.agents[agent_id] = data

    def lacks(self) -> str | None:
        if self.link is None or not self.is_greeted or self.is_busy:
            return f"{self.name} is not connected or waits for an answer"
        truth: dict[str, tuple[int, Any]] = {}
        for channel in sorted(self.channels):
            log = self.world.log.channel(channel)
            for agent_id, state in log.newest().items():
                truth[agent_id] = max(
                    truth.get(agent_id, (0, None)), (log.offsets[agent_id][-1], state), key=lambda one: one[0]
                )
        for agent_id in truth.keys() | self.agents.keys():
            if self.agents.get(agent_id) != truth.get(agent_id, (0, None))[1]:
                shown, wanted = self.agents.get(agent_id), truth.get(agent_id)
                return f"{self.name}: {agent_id} is {shown!r:.200}, not {wanted!r:.200}"
        return None


def client_of(viewer: Viewer) -> SocketClient:
    """Who the server takes it for; each connection has an id of its own."""
    return SocketClient(f"{viewer.name}-{viewer.connected}")
