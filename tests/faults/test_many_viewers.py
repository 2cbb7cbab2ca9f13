"""Many viewers over real sockets, half of them cut again and again, some slow: all end with what the source holds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from django_update_pipeline.control import CommandFailed
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.testing.mirror import Mirror
from tests.servers.kinds import KINDS
from tests.servers.project.lives import digest
from tests.servers.running import Running, make_people, serve

pytestmark = pytest.mark.slow

CHANNEL = "updates"
IS_LONG = os.environ.get("UPDATE_PIPELINE_LONG") == "1"
#: How many viewers, and for how long agents live.
VIEWERS, LIVE_S = (200, 60.0) if IS_LONG else (24, 4.0)
AGENTS = 25
SLOW_READ_S = 0.2  # a slow viewer reads some five frames a second; twenty are made


class Viewer:
    """A client of the sync protocol that comes back for as long as it is asked to."""

    def __init__(self, url: str, chance: random.Random, is_slow: bool) -> None:
        self.url = url
        self.chance = chance
        self.is_slow = is_slow
        self.mirror = Mirror()
        self.cuts = self.resets = 0
        self.socket: ClientConnection | None = None

    async def run(self) -> None:
        while True:
            try:
                async with connect(
                    self.url, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None, max_queue=2
                ) as socket:
                    self.socket = socket
                    await self._subscribe()
                    async for text in socket:
                        await self._take(json.loads(text))
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError):
                pass
            self.socket = None
            await asyncio.sleep(self.chance.uniform(0, 1))

    async def _say(self, **frame: Any) -> None:
        assert self.socket is not None
        await self.socket.send(json.dumps(frame))

    async def _subscribe(self) -> None:
        since = self.mirror.since()
        await self._say(type="subscribe", channels=[CHANNEL], since={CHANNEL: since} if since else {})

    async def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] != "sync":
            return
        if frame["channel"] == CHANNEL:
            self.resets += bool(frame.get("reset")) and self.mirror.position > 0
            if not self.mirror.apply(frame):
                await self._subscribe()
                return
        if frame.get("ack"):
            await self._say(type="ack", channel=frame["channel"], offset=frame["to"])
        if self.is_slow:
            await asyncio.sleep(SLOW_READ_S)  # the server is another process, with a clock of its own

    def cut(self) -> None:
        """Ends the socket without a word to either side's protocol."""
        if self.socket is not None:
            self.cuts += 1
            self.socket.transport.abort()

    def holds(self, truth: dict[str, Any]) -> bool:
        return self.mirror.is_live and digest(self.mirror.agents) == truth["digest"]

    def heard(self) -> dict[str, list[int]]:
        """By agent, the numbers of its events in the order of their arrival."""
        heard: dict[str, list[int]] = {}
        for event in self.mirror.events:
            heard.setdefault(event["agent_id"], []).append(event["data"]["number"])
        return heard


def truth_of(server: Running) -> dict[str, Any]:
    try:
        server.act("lived")
    except CommandFailed as answer:
        truth: dict[str, Any] = json.loads(str(answer))
        return truth
    raise AssertionError("the account is answered by a refusal")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_people(tmp_path_factory.mktemp("people"))


@pytest.mark.timeout(60 + 3 * LIVE_S)
async def test_all_end_with_what_the_source_holds(tmp_path: Any, people: Any) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with serve(KINDS[0], tmp_path, people) as server:
        viewers = [
            Viewer(server.socket_url(), random.Random(chance.random()), is_slow=n % 20 == 0)
            for n in range(VIEWERS)
        ]
        running = [asyncio.ensure_future(viewer.run()) for viewer in viewers]
        try:
            async with asyncio.timeout(30):
                while not all(viewer.mirror.is_live for viewer in viewers):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(server.act, "live", seed=seed, seconds=LIVE_S, agents=AGENTS)
            loop = asyncio.get_running_loop()
            end = loop.time() + LIVE_S
            unlucky = [viewer for n, viewer in enumerate(viewers) if n % 2]
            while loop.time() < end:
                chance.shuffle(unlucky)
                for viewer in unlucky:  # each about every three seconds
                    viewer.cut()
                    await asyncio.sleep(3 / len(unlucky))
            truth = await asyncio.to_thread(truth_of, server)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30 + LIVE_S):
                    while not truth["is_over"] or not all(viewer.holds(truth) for viewer in viewers):
                        await asyncio.sleep(0.1)
                        truth = await asyncio.to_thread(truth_of, server)
            assert truth["is_over"]
            assert [n for n, viewer in enumerate(viewers) if not viewer.holds(truth)] == []
            wanted = {agent_id: list(range(last + 1)) for agent_id, last in truth["said"].items()}
            for n, viewer in enumerate(viewers):
                assert viewer.heard() == wanted, n
                assert (viewer.mirror.missed, viewer.mirror.repaired) == (0, 0), n
            assert all(viewer.cuts for viewer in unlucky)
            assert not any(viewer.resets for viewer in viewers), "whoever came back went on where it was"
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
