"""A bug of a writer without room that the simulation found (seed 162): it waited for news, and nobody woke it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.runtime.socket import SocketClient
from django_update_pipeline.runtime.sync_socket import SyncSocket
from django_update_pipeline.testing import LoopClock, in_virtual_time
from django_update_pipeline.testing.mirror import Mirror


@in_virtual_time
async def test_a_frame_larger_than_the_room_that_is_left_is_told_once_it_is_acknowledged() -> None:
    """There was room, and not for a frame of that size: the writer slept until something else happened."""
    config = config_from_mapping({"CONNECTIONS": {"window_bytes": 4096}})
    pipeline = UpdatePipeline(config, clock=LoopClock())
    mirror, inbox, asked = Mirror(), asyncio.Queue[dict[str, Any]](), []

    def say(**frame: Any) -> None:
        inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(frame)})

    async def send(message: dict[str, Any]) -> None:
        frame = json.loads(message.get("text", "{}"))
        if frame.get("channel") == "updates":
            assert mirror.apply(frame)
        if frame.get("ack"):
            asked.append(frame)

    def acknowledge() -> None:
        while asked:
            frame = asked.pop(0)
            say(type="ack", channel=frame["channel"], offset=frame["to"])

    async with pipeline:
        socket = asyncio.create_task(SyncSocket(pipeline, SocketClient("one")).serve(inbox.get, send))
        say(type="subscribe", channels=["updates"])
        for _ in range(20):
            await asyncio.sleep(1.0)
            acknowledge()
        for round_ in range(
            12
        ):  # whatever a frame's own keys take, in some round the room is between the two
            await pipeline.publish("lamp", data={"n": round_, "fill": "x" * (2300 + 60 * round_)})
            await asyncio.sleep(0.5)
            await pipeline.publish("lamp", data={"n": -round_, "fill": "y" * 1500})
            await asyncio.sleep(0.5)
            for _ in range(3):
                acknowledge()
                await asyncio.sleep(0.5)
            assert mirror.agents["lamp"]["n"] == -round_, "it was acknowledged, and nothing more is told"
            assert mirror.position == pipeline.store.head
        socket.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await socket
