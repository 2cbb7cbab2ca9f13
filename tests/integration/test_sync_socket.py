"""The sync protocol over the plain ASGI door, with its client's rules."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.core.asgi import get_asgi_application

from django_update_pipeline import UNSET, UpdatePriority, hookimpl
from django_update_pipeline.core.codes import CLIENT_SILENT
from django_update_pipeline.core.credit import FIRST_SHARE, SILENT_AFTER_S
from django_update_pipeline.core.session import SYSTEM_CHANNEL
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.routing import with_update_pipeline
from django_update_pipeline.testing.mirror import Mirror

from .asgi import HOST, AsgiSocket


@pytest.fixture
def app() -> Any:
    return with_update_pipeline(get_asgi_application())


class Client:
    """A socket with a mirror for each channel."""

    def __init__(self, app: Any, *, acknowledges: bool = True) -> None:
        self.app = app
        self.acknowledges = acknowledges
        self.mirrors: dict[str, Mirror] = {}
        self.socket: AsgiSocket
        self.read = 0

    async def connect(self) -> None:
        self.socket = AsgiSocket(self.app, headers=(HOST,), subprotocols=[SUBPROTOCOL])
        assert await self.socket.connect()
        self.read = 0

    async def subscribe(self, *channels: str, **fields: list[str]) -> None:
        since = {}
        for name in channels:
            at = self.mirrors.setdefault(name, Mirror()).since()
            if at is not None:
                since[name] = {**at, "view": ",".join(sorted(fields.get(name, [])))}
        self.socket.say({"type": "subscribe", "channels": list(channels), "since": since, "fields": fields})
        await self.until(lambda: any(f["type"] == "subscription_confirmed" for f in self.socket.frames))

    def take(self) -> None:
        frames = self.socket.frames
        for frame in frames[self.read :]:
            if frame["type"] == "sync" and frame["channel"] != SYSTEM_CHANNEL:
                assert self.mirrors[frame["channel"]].apply(frame)
            if frame.get("ack") and self.acknowledges:
                self.socket.say(
                    {"type": "ack", "channel": frame["channel"], "offset": frame["to"], "age_ms": 1}
                )
        self.read = len(frames)

    async def until(self, condition: Any) -> None:
        def look() -> bool:
            self.take()
            return bool(condition())

        await self.socket.until(look)

    async def shows(self, channel: str, agents: dict[str, Any]) -> None:
        await self.until(lambda: self.mirrors[channel].is_live and self.mirrors[channel].agents == agents)

    async def close(self) -> None:
        await self.socket.disconnect()


async def test_the_accept_names_the_protocol_and_greets(app: Any, pipeline: Any) -> None:
    pipeline()
    client = Client(app)
    await client.connect()
    assert client.socket.sent[0] == {"type": "websocket.accept", "subprotocol": SUBPROTOCOL}
    await client.until(lambda: client.socket.frames)
    assert client.socket.frames[0]["type"] == "connection_established"
    await client.close()


async def test_a_view_is_filled_kept_and_resumed(app: Any, pipeline: Any) -> None:
    line = pipeline()
    await line.start()
    await line.publish("lamp", data={"on": True, "room": "hall"})
    client = Client(app)
    await client.connect()
    await client.subscribe("updates")
    await client.shows("updates", {"lamp": {"on": True, "room": "hall"}})
    await line.publish("lamp", "state_patch", {"on": False, "room": UNSET})
    await line.publish("lamp", "said", {"text": "click"})
    await client.shows("updates", {"lamp": {"on": False}})
    await client.until(lambda: len(client.mirrors["updates"].events) == 1)
    await client.close()

    await line.publish("lamp", "state_patch", {"on": True})
    await line.publish("lamp", "said", {"text": "clack"})
    await client.connect()
    await client.subscribe("updates")
    await client.shows("updates", {"lamp": {"on": True}})
    mirror = client.mirrors["updates"]
    assert [event["data"]["text"] for event in mirror.events] == ["click", "clack"]
    assert mirror.missed == 0
    (caught_up,) = [f for f in client.socket.frames if f["type"] == "sync" and f["channel"] == "updates"]
    assert caught_up["agents"]["lamp"]["set"] == {"on": True}
    assert "reset" not in caught_up
    await client.close()


async def test_a_restarted_server_leads_to_a_reset(app: Any, pipeline: Any) -> None:
    line = pipeline()
    await line.start()
    await line.publish("lamp", data={"on": True})
    client = Client(app)
    await client.connect()
    await client.subscribe("updates")
    await client.shows("updates", {"lamp": {"on": True}})
    await client.close()
    client.mirrors["updates"].epoch = "another"
    await client.connect()
    await client.subscribe("updates")
    await client.shows("updates", {"lamp": {"on": True}})
    assert [
        f["reset"] for f in client.socket.frames if f.get("channel") == "updates" and f["type"] == "sync"
    ] == [True]
    await client.close()


async def test_a_projection_gets_its_fields(app: Any, pipeline: Any) -> None:
    line = pipeline()
    await line.start()
    await line.publish("lamp", data={"x": 1, "y": 2, "story": "long"})
    client = Client(app)
    await client.connect()
    await client.subscribe("updates", updates=["y", "x"])
    await client.shows("updates", {"lamp": {"x": 1, "y": 2}})
    await line.publish("lamp", "state_patch", {"x": 5, "story": "longer"})
    await client.shows("updates", {"lamp": {"x": 5, "y": 2}})
    await client.close()


async def test_channels_are_refused_as_on_the_classic_socket(app: Any, pipeline: Any) -> None:
    pipeline()
    client = Client(app)
    await client.connect()
    client.mirrors["secret"] = Mirror()
    client.socket.say({"type": "subscribe", "channels": ["secret", "updates", "no name"]})
    client.mirrors["updates"] = Mirror()
    await client.until(lambda: any(f["type"] == "error" for f in client.socket.frames))
    frames = client.socket.frames
    assert [f["channels"] for f in frames if f["type"] == "subscription_confirmed"] == [["updates"]]
    assert [f["code"] for f in frames if f["type"] == "error"] == ["channel_refused"]
    assert not any(f.get("channel") == "secret" for f in frames)
    await client.close()


async def test_notifications_reach_everybody(app: Any, pipeline: Any) -> None:
    line = pipeline()
    await line.start()
    client = Client(app)
    await client.connect()
    await client.until(lambda: any(f["type"] == "sync" for f in client.socket.frames))
    line.queue_system_notification("Rose ceremony starting")

    def told() -> list[Any]:
        frames = [f for f in client.socket.frames if f.get("channel") == SYSTEM_CHANNEL]
        return [event["data"] for frame in frames for event in frame.get("events", [])]

    await client.until(told)
    assert told() == [{"level": "info", "message": "Rose ceremony starting"}]
    await client.close()


async def test_without_acknowledgements_a_client_gets_its_window_and_no_more(app: Any, pipeline: Any) -> None:
    line = pipeline(CONNECTIONS={"window_bytes": 4096})
    await line.start()
    client = Client(app, acknowledges=False)
    await client.connect()
    await client.subscribe("updates")
    for count in range(50):
        await line.publish("lamp", data={"count": count, "text": "." * 500})
        await asyncio.sleep(0)
    sent = sum(len(json.dumps(f)) for f in client.socket.frames if f["type"] == "sync")
    assert sent < 3 * 4096
    asking = [f for f in client.socket.frames if f.get("ack")]
    assert len(asking) == 1

    # One acknowledgement, and it is told the newest at once: not what it missed.
    client.acknowledges = True
    before = len(client.socket.frames)
    client.socket.say({"type": "ack", "channel": asking[0]["channel"], "offset": asking[0]["to"]})
    await client.until(lambda: client.mirrors["updates"].agents.get("lamp", {}).get("count") == 49)
    assert len(client.socket.frames) - before <= 2
    await client.close()


async def test_a_connection_begins_with_a_share_of_the_window(app: Any, pipeline: Any) -> None:
    """Nobody knows its pace yet: with all of it a slow one would be sent seconds of what is stale by then."""
    line = pipeline()
    client = Client(app, acknowledges=False)
    await client.connect()
    (connection,) = line.websocket_manager.connections.values()
    limits = line.config.connections
    credit = connection.session.credit
    assert FIRST_SHARE > 1
    assert credit.window_bytes == limits.window_bytes // FIRST_SHARE
    assert credit.window_frames == max(2, limits.window_frames // FIRST_SHARE)
    await client.close()


async def test_one_that_talks_and_never_acknowledges_is_closed(app: Any, pipeline: Any) -> None:
    line = pipeline()
    await line.start()
    line.queue_agent_update("a", "state_change", {"n": 1})
    client = Client(app, acknowledges=False)
    await client.connect()
    await client.subscribe("updates")
    await client.until(lambda: any(f.get("ack") for f in client.socket.frames))
    (connection,) = line.websocket_manager.connections.values()
    credit = connection.session.credit
    credit.asked = credit.asked._replace(at=line.clock.monotonic() - SILENT_AFTER_S - 1)
    client.socket.say({"type": "ping"})
    await client.socket.until(lambda: client.socket.close_code)
    assert client.socket.close_code == CLIENT_SILENT.code
    await client.close()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "ack"}, "invalid_field"),
        ({"type": "ack", "channel": "updates", "offset": -1}, "invalid_field"),
        ({"type": "ack", "channel": "updates", "offset": 10**9}, "invalid_field"),
        ({"type": "ack", "channel": "updates", "offset": 0, "age_ms": "old"}, "invalid_field"),
        ({"type": "ack", "channel": "updates", "offset": 0, "repaired": -1}, "invalid_field"),
        ({"type": "subscribe", "channels": ["updates"], "fields": []}, "invalid_field"),
        ({"type": "subscribe", "channels": ["updates"], "fields": {"updates": []}}, "invalid_field"),
        ({"type": "subscribe", "channels": ["updates"], "fields": {"updates": ["a,b"]}}, "invalid_field"),
        ({"type": "agent_action", "agent_id": "a", "action": "b", "id": []}, "invalid_field"),
        ({"type": "nothing"}, "unknown_type"),
    ],
)
async def test_wrong_frames_are_answered(app: Any, pipeline: Any, frame: Any, code: str) -> None:
    pipeline()
    client = Client(app)
    await client.connect()
    client.socket.say(frame)
    await client.until(lambda: any(f["type"] == "error" for f in client.socket.frames))
    assert [f["code"] for f in client.socket.frames if f["type"] == "error"] == [code]
    await client.close()


async def test_an_ack_that_nobody_awaits_changes_nothing(app: Any, pipeline: Any) -> None:
    pipeline()
    client = Client(app)
    await client.connect()
    client.socket.say({"type": "ack", "channel": "updates", "offset": 0})
    pong = await client.socket.ask({"type": "ping", "timestamp": 1})
    assert pong["type"] in ("pong", "sync")
    assert not any(f["type"] == "error" for f in client.socket.frames)
    await client.close()


class Hooks:
    @hookimpl
    def authorize_action(self, client: Any, agent_id: str, action: str, params: Any) -> bool:
        return True

    @hookimpl
    def handle_action(self, client: Any, agent_id: str, action: str, params: Any) -> str | None:
        return "done" if action == "move" else None


HOOKS = Hooks()


async def test_an_actions_id_comes_back(app: Any, pipeline: Any) -> None:
    pipeline(PLUGINS=[f"{__name__}.HOOKS"])
    client = Client(app)
    await client.connect()
    client.socket.say({"type": "agent_action", "agent_id": "a", "action": "move", "id": 7})
    client.socket.say({"type": "agent_action", "agent_id": "a", "action": "fly", "id": "8"})
    await client.until(lambda: any(f["type"] == "error" for f in client.socket.frames))
    answers = [f for f in client.socket.frames if f["type"] in ("action_queued", "error")]
    assert [(f["type"], f["id"]) for f in answers] == [("action_queued", 7), ("error", "8")]
    await client.close()


async def test_classic_and_sync_clients_end_with_the_same(app: Any, pipeline: Any) -> None:
    line = pipeline()
    await line.start()
    sync = Client(app)
    await sync.connect()
    await sync.subscribe("updates")
    classic = AsgiSocket(app)
    assert await classic.connect()
    for count in range(30):
        line.queue_agent_update(f"lamp{count % 3}", data={"count": count}, priority=UpdatePriority(count % 4))
    await sync.until(lambda: sync.mirrors["updates"].agents.get("lamp2") == {"count": 29})
    await classic.until(lambda: any(f.get("data") == {"count": 29} for f in classic.frames))
    shown = {f["agent_id"]: f["data"] for f in classic.frames if f["type"] == "agent_update"}
    await sync.until(lambda: sync.mirrors["updates"].agents == shown)
    await sync.close()
    await classic.disconnect()
