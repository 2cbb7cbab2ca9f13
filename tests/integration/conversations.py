"""Conversations with a real server, recorded: every kind of frame of every protocol, in both directions.

record(running) ─▶ Records: each frame with its protocol and who sent it
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from django_update_pipeline.core.commands import COMMANDS, LIVE_EVENTS
from django_update_pipeline.core.frame_types import ADMIN, CLASSIC, SYNC, Protocol, kind_of
from django_update_pipeline.testing.mirror import Mirror
from tests.servers.running import Running

from . import spoken_plugin

Frame = dict[str, Any]

PATIENCE_S = 30.0

#: A small ring so that events are missed, and a small window so that parts wait for acknowledgements.
PIPELINE: Frame = {
    "PLUGINS": ["tests.servers.project.plugin", spoken_plugin.NAME],
    "STORE": {"max_events": 3},
    "RETRY": {"max_retries": 0},
    "CONTAINMENT": {"max_failures": 3, "retry_after_s": 0},
    "CONNECTIONS": {"window_bytes": 48 * 1024},
}


@dataclass(frozen=True)
class Record:
    """One frame as it was on the wire. `is_wrong`: a client's that breaks the protocol on purpose.

    `fields` has an event's other fields, where it came over a stream.
    """

    protocol: str
    is_of_client: bool
    frame: Any
    is_wrong: bool = False
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.fields.get("event") or kind_of(self.frame)


@dataclass
class Talk:
    """A client on one socket that notes everything said."""

    protocol: Protocol
    socket: ClientConnection
    records: list[Record]
    acknowledges: bool = True
    mirrors: dict[str, Mirror] = field(default_factory=dict)
    heard: list[Frame] = field(default_factory=list)

    async def say(self, frame: Frame, *, is_wrong: bool = False) -> None:
        self.records.append(Record(self.protocol.name, True, frame, is_wrong))
        await self.socket.send(json.dumps(frame))

    async def hear(self) -> Frame:
        frame: Frame = json.loads(await self.socket.recv())
        self.records.append(Record(self.protocol.name, False, frame))
        self.heard.append(frame)
        if frame["type"] == "sync":
            await self._apply(frame)
        return frame

    async def _apply(self, frame: Frame) -> None:
        if frame.get("view", "") == "":
            assert self.mirrors.setdefault(frame["channel"], Mirror()).apply(frame), frame
        if frame.get("ack") and self.acknowledges:
            await self.say({"type": "ack", "channel": frame["channel"], "offset": frame["to"], "age_ms": 1.5})

    async def until(self, found: Callable[[Frame], Any]) -> Frame:
        """Reads until a frame is found."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not found(frame := await self.hear()):
                    pass
        except TimeoutError:
            last = [str(frame)[:200] for frame in self.heard[-8:]]
            raise AssertionError(f"{self.protocol.name}: in vain; last: {last}") from None
        return frame

    async def kind(self, *kinds: str) -> Frame:
        return await self.until(lambda frame: kind_of(frame) in kinds)

    async def ask(self, frame: Frame, *kinds: str, is_wrong: bool = False) -> Frame:
        await self.say(frame, is_wrong=is_wrong)
        return await self.kind(*kinds)


@dataclass
class Recorder:
    """Everybody's records, and the server they talk to."""

    server: Running
    records: list[Record] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def talk(self, protocol: Protocol, person: str = "visitor") -> AsyncIterator[Talk]:
        url = self.server.socket_url(f"/ws/updates/{protocol.below}")
        headers = {"Cookie": self.server.cookies[person], "Origin": self.server.url}
        subprotocols: Any = [protocol.subprotocol] if protocol.subprotocol else None
        async with connect(
            url,
            additional_headers=headers,
            subprotocols=subprotocols,
            compression=None,
            proxy=None,
            max_size=2**24,
            max_queue=None,
        ) as socket:
            talk = Talk(protocol, socket, self.records)
            first = await talk.hear()
            assert kind_of(first) in ("connection_established", "admin_connected")
            yield talk

    async def act(self, action: str, agent_id: str = "eva", **params: Any) -> None:
        """Has the served project do something, and waits until it is done."""
        await asyncio.to_thread(self.server.act, action, agent_id, **params)


async def talk_classic(line: Recorder) -> None:
    async with line.talk(CLASSIC) as talk:
        await talk.ask({"type": "subscribe", "channels": ["news", "secret"]}, "error")
        await talk.ask({"type": "subscribe", "channels": ["no name!"]}, "error", is_wrong=True)
        since = {"news": {"epoch": "k3f9", "offset": 3, "view": ""}}
        await talk.ask({"type": "subscribe", "channels": ["news"], "since": since}, "subscription_confirmed")
        for timestamp in (1623456789123, "now", None, True, 1.5):
            await talk.ask({"type": "ping", "timestamp": timestamp}, "pong")
        await talk.ask({"type": "ping", "timestamp": []}, "error", is_wrong=True)
        await line.act("patch", "eva", mood="calm", place="pool")
        await talk.kind("agent_update")
        await line.act("say", "eva")
        await line.act("remove", "eva")
        await talk.until(lambda frame: frame.get("update_type") == "state_removed")
        await line.act("notify")
        await talk.kind("system_notification")
        await line.act("say", "eva", count=20)  # more at once than the ring holds
        await talk.until(lambda frame: frame.get("level") == "warning")
        action = {"type": "agent_action", "agent_id": "eva"}
        await talk.ask({**action, "action": "patch", "params": {"mood": "busy"}}, "action_queued")
        await talk.ask({**action, "action": "refuse"}, "error")
        await talk.ask({**action, "action": 7}, "error", is_wrong=True)
        await talk.ask({"type": "dance"}, "error", is_wrong=True)
        await talk.ask({"type": "unsubscribe", "channels": ["news"]}, "unsubscription_confirmed")


async def talk_sync(line: Recorder) -> None:
    await line.act("fill", "guest", count=90, size=1000, channels=["updates", "news"])
    async with line.talk(SYNC) as talk:
        talk.acknowledges = False
        await talk.ask({"type": "subscribe", "channels": ["updates", "secret"]}, "subscription_confirmed")
        await talk.until(lambda frame: frame.get("more"))
        await line.act("urgent", "guest_007")  # while the other parts wait for an acknowledgement
        talk.acknowledges = True
        (asking,) = [frame for frame in talk.heard if frame.get("ack")]
        await talk.say({"type": "ack", "channel": asking["channel"], "offset": asking["to"], "repaired": 0})
        await talk.until(lambda frame: frame.get("urgent"))
        view = talk.mirrors["updates"]
        await _live(talk, view)
        assert view.agents["guest_007"]["mood"] == "alarmed"

        await line.act("patch", "eva", mood="calm", place="pool")
        await line.act("patch", "eva", mood="happy", place=None)
        await talk.until(lambda frame: "unset" in frame.get("agents", {}).get("eva", {}))
        await line.act("say", "eva")
        await talk.until(lambda frame: frame.get("events"))
        await line.act("remove", "guest_003")
        await talk.until(lambda frame: frame.get("removed"))
        await line.act("notify")
        await talk.until(lambda frame: frame.get("channel") == "update_pipeline.system")
        await line.act("say", "eva", count=20)
        await talk.until(lambda frame: view.missed)
        assert any("check" in frame for frame in talk.heard)

        action = {"type": "agent_action", "agent_id": "eva"}
        await talk.ask({**action, "action": "patch", "params": {"mood": "busy"}, "id": 7}, "action_queued")
        await talk.ask({**action, "action": "patch", "params": {"mood": "idle"}}, "action_queued")
        await talk.ask({**action, "action": "refuse", "id": "mine"}, "error")
        await talk.ask({**action, "action": "patch", "id": 1.5}, "error", is_wrong=True)
        await talk.ask({"type": "ack", "channel": "updates", "offset": -1}, "error", is_wrong=True)
        await talk.ask({"type": "ping", "timestamp": 1}, "pong")
        subscribe = {"type": "subscribe", "channels": ["news"], "fields": {"news": ["mood", "n"]}}
        await talk.say(subscribe)
        await talk.until(lambda frame: frame.get("view") == "mood,n" and not frame.get("more"))
        await talk.ask({**subscribe, "fields": {"news": []}}, "error", is_wrong=True)
        await talk.ask({"type": "unsubscribe", "channels": ["news"]}, "unsubscription_confirmed")
        position = view.since()

    await line.act("patch", "eva", mood="tired")
    async with line.talk(SYNC) as talk:
        talk.mirrors["updates"] = view
        await talk.say({"type": "subscribe", "channels": ["updates"], "since": {"updates": position}})
        resumed = await talk.until(lambda frame: frame.get("channel") == "updates")
        assert "reset" not in resumed
        assert resumed["agents"]["eva"]["set"] == {"mood": "tired"}
        forged = {"updates": {"epoch": "gone", "offset": 3, "view": None}}
        await talk.say({"type": "subscribe", "channels": ["updates"], "since": forged})
        await talk.until(lambda frame: frame.get("reset"))
        await _live(talk, view)
        await line.act("withdraw", "updates")
        await talk.until(lambda frame: frame.get("code") == "channel_withdrawn")
    await line.act("give_back", "updates")


async def _live(talk: Talk, view: Mirror) -> None:
    while not view.is_live:
        await talk.until(lambda frame: frame["type"] == "sync")


async def talk_stream(line: Recorder) -> None:
    """A stream that is read until the server ends it."""
    first = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(asyncio.to_thread(_read_stream, line, first))
    connection_id = await asyncio.wait_for(first, PATIENCE_S)
    await line.act("say", "eva")
    await line.act("patch", "eva", mood="calm", place=None)
    await line.act("patch", "eva", mood="merry", channels=["news"])  # the view's first check
    await line.act("remove", "guest_004")
    await line.act("close", connection_id, code=4002)
    await asyncio.wait_for(reading, PATIENCE_S)


def _read_stream(line: Recorder, first: asyncio.Future[str]) -> None:
    connection_id = ""
    connection = http.client.HTTPConnection("127.0.0.1", line.server.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/ws/updates/stream/?channels=updates,news,secret&fields=news:mood,n")
        answer = connection.getresponse()
        assert answer.status == 200
        fields: dict[str, str] = {}
        while raw := answer.readline():
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
                continue
            if "data" in fields:  # else a comment, or `retry`
                frame = json.loads(fields.pop("data"))
                fields.pop("retry", None)
                line.records.append(Record("stream", False, frame, fields=fields))
                connection_id = frame.get("connection_id", connection_id)
                # Once its view is live: what follows comes as changes.
                if frame.get("type") == "sync" and frame["channel"] == "updates" and not frame.get("more"):
                    first.get_loop().call_soon_threadsafe(_settle, first, connection_id)
            fields = {}
    finally:
        connection.close()


def _settle(first: asyncio.Future[str], connection_id: str) -> None:
    if not first.done():
        first.set_result(connection_id)


async def talk_admin(line: Recorder) -> None:
    async with line.talk(ADMIN, "operator") as talk:
        asked: set[str] = set()

        async def ask(command: str, **params: Any) -> Frame:
            asked.add(command)
            frame: Frame = {"command": command, "id": len(asked)}
            if params:
                frame["params"] = params
            answer = await talk.ask(frame, COMMANDS[command].reply, "error")
            assert answer["type"] != "error", answer
            data: Frame = answer["data"]
            return data

        await ask("watch", interval_s=0.2)
        for kind in ("live_health_status", "live_performance_metrics", "live_connection_info"):
            await talk.kind(kind)
        for command in ("get_health", "get_metrics", "get_status", "get_plugins"):
            await ask(command)
        await line.act("poison")
        await talk.kind("live_dead_letters_added")
        letters = await ask("list_dead_letters", limit=5)
        number = letters["letters"][0]["number"]
        shown = await ask("show_dead_letter", number=number)
        assert shown["data"] == {"text": "help"}
        await ask("replay_dead_letters", numbers=[number])
        await ask("discard_dead_letters", all=True)

        await ask("hold_circuit_breaker", reason="a look")
        await talk.kind("live_circuit_breaker_changed")
        await ask("reset_circuit_breaker")
        await line.act("deafen", is_on=True)
        for n in range(3):
            await line.act("patch", "eva", n=n)
        await talk.kind("live_part_switched")
        await line.act("deafen", is_on=False)
        enabled = await ask("enable_plugin", name=spoken_plugin.NAME)
        assert enabled["enabled"]
        async with line.talk(CLASSIC) as other:
            listed = await ask("get_connections", limit=10)
            assert {one["kind"] for one in listed["connections"]} >= {"classic", "admin"}
            await ask("close_connection", connection_id=other.heard[0]["connection_id"])
            await talk.kind("live_operator_acted")
            with contextlib.suppress(ConnectionClosed):
                await other.until(lambda frame: False)
            assert other.socket.close_code == 4002
        history = await ask("get_history")
        while not history["samples"]["timestamp"]:  # the first is taken within a second
            await asyncio.sleep(0.2)
            history = await ask("get_history", seconds=300)
        assert {event["type"] for event in history["events"]} == set(LIVE_EVENTS)
        await ask("unwatch")
        await talk.ask({"type": "ping", "timestamp": 1}, "pong")
        await talk.ask({"command": "get_helth", "id": "mine"}, "error", is_wrong=True)
        await talk.ask({"command": "watch", "params": {"interval": 1}}, "error", is_wrong=True)
        assert asked == set(COMMANDS)


async def record(server: Running) -> list[Record]:
    """All conversations, one after the other."""
    line = Recorder(server)
    for talk in (talk_classic, talk_sync, talk_stream, talk_admin):
        await talk(line)
    return line.records
