"""The sync protocol and its server-sent events, the same on every server: filled at once, live, and resumed."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect

from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.testing.mirror import Mirror

from .clients import PATIENCE_S
from .running import Running

pytestmark = pytest.mark.slow

CHANNEL = "updates"


async def _follow(
    server: Running, mirror: Mirror, agent_id: str, wanted: dict[str, Any]
) -> list[dict[str, Any]]:
    """Connects from where the mirror is, reads until it shows this state, and cuts; the channel's frames."""
    frames = []
    async with connect(server.socket_url(), subprotocols=[SUBPROTOCOL], compression=None) as socket:
        assert socket.subprotocol == SUBPROTOCOL
        since = mirror.since()
        asked = {"type": "subscribe", "channels": [CHANNEL], "since": {CHANNEL: since} if since else {}}
        await socket.send(json.dumps(asked))
        async with asyncio.timeout(PATIENCE_S):
            while not (mirror.is_live and mirror.agents.get(agent_id) == wanted):
                frame = json.loads(await socket.recv())
                if frame["type"] != "sync":
                    continue
                if frame["channel"] == CHANNEL:
                    assert mirror.apply(frame)
                    frames.append(frame)
                if frame.get("ack"):
                    await socket.send(
                        json.dumps({"type": "ack", "channel": frame["channel"], "offset": frame["to"]})
                    )
        socket.transport.abort()
    return frames


async def test_a_sync_client_is_filled_at_once_and_comes_back_to_what_it_missed(server: Running) -> None:
    await asyncio.to_thread(server.act, "state", "synced", n=1, kept="k" * 100)
    mirror = Mirror()
    frames = await _follow(server, mirror, "synced", {"n": 1, "kept": "k" * 100})
    assert frames[0]["reset"]
    await asyncio.to_thread(server.act, "state", "synced", n=2, kept="k" * 100)
    frames = await _follow(server, mirror, "synced", {"n": 2, "kept": "k" * 100})
    assert not any(frame.get("reset") for frame in frames)
    assert frames[-1]["agents"]["synced"]["set"] == {"n": 2}, "only what changed"


@contextmanager
def _stream(server: Running, last_id: str = "") -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """The stream's frames, each with its id."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)) as connection:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        connection.request("GET", f"/ws/updates/stream/?channels={CHANNEL}", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/event-stream")

        def events() -> Iterator[tuple[str, dict[str, Any]]]:
            event_id, data = "", ""
            while line := answer.readline().decode().rstrip("\r\n") or "\n":
                if line.startswith("id:"):
                    event_id = line.removeprefix("id:").strip()
                elif line.startswith("data:"):
                    data += line.removeprefix("data:").strip()
                elif line == "\n" and data:
                    yield event_id, json.loads(data)
                    data = ""

        yield events()


async def test_a_stream_is_filled_at_once_live_and_resumed(server: Running) -> None:
    def read_until(mirror: Mirror, n: int, last_id: str = "") -> tuple[str, list[dict[str, Any]]]:
        frames: list[dict[str, Any]] = []
        with _stream(server, last_id) as events:
            for event_id, frame in events:
                last_id = event_id or last_id
                if frame["type"] == "sync" and frame["channel"] == CHANNEL:
                    assert mirror.apply(frame)
                    frames.append(frame)
                if mirror.is_live and mirror.agents.get("streamed", {}).get("n") == n:
                    return last_id, frames
        raise AssertionError("the stream ended")

    mirror = Mirror()
    await asyncio.to_thread(server.act, "state", "streamed", n=1, kept="k" * 100)
    last_id, frames = await asyncio.to_thread(read_until, mirror, 1)
    assert frames[0]["reset"]
    reading = asyncio.create_task(asyncio.to_thread(read_until, mirror, 3, last_id))
    for n in (2, 3):
        await asyncio.to_thread(server.act, "state", "streamed", n=n, kept="k" * 100)
    last_id, frames = await reading
    assert not any(frame.get("reset") for frame in frames)
    told = [frame["agents"]["streamed"]["set"] for frame in frames if "streamed" in frame.get("agents", {})]
    assert told
    assert all(list(fields) == ["n"] for fields in told), "only what changed"
