"""The same on every server: what a page, a visitor, a member and an operator meet."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from django_update_pipeline.core.codes import CLOSE_CODES

from .clients import refusal, stalled, viewing
from .running import Running

pytestmark = pytest.mark.slow

SERVED_CODES = tuple(one for one in CLOSE_CODES if one.code < 4100)


async def test_pages_are_served_beside_the_sockets(server: Running) -> None:
    assert (await asyncio.to_thread(server.page)).startswith("served by ")

    def elsewhere() -> None:
        urllib.request.urlopen(f"{server.url}/nowhere/", timeout=10)

    with pytest.raises(urllib.error.HTTPError, match="404"):
        await asyncio.to_thread(elsewhere)


async def test_a_visitor_is_greeted_first_and_has_the_newest_state_at_once(server: Running) -> None:
    for n in range(3):
        await asyncio.to_thread(server.act, "state", "greeted", n=n)
    async with viewing(server.socket_url()) as viewer:
        await viewer.until(lambda: "greeted" in viewer.agents)
        assert viewer.frames[0]["type"] == "connection_established"
        assert viewer.agents["greeted"] == {"n": 2}
        assert sum(frame.get("agent_id") == "greeted" for frame in viewer.frames) == 1


async def test_updates_come_live_and_in_order(server: Running) -> None:
    async with viewing(server.socket_url()) as viewer, viewing(server.socket_url()) as other:
        await viewer.next()
        await other.next()
        await asyncio.to_thread(server.act, "events", "ordered", count=300)

        def own(events: list[Any]) -> list[int]:
            return [event["data"]["n"] for event in events if event["agent_id"] == "ordered"]

        for one in (viewer, other):
            await one.until(lambda one=one: len(own(one.events)) == 300)
            assert own(one.events) == list(range(300))
            newest = -1
            for frame in one.frames:
                if frame.get("agent_id") != "ordered":
                    continue
                if frame["update_type"] == "state_change":
                    assert frame["data"]["n"] >= newest, "state never goes back"
                    newest = frame["data"]["n"]
                else:
                    assert newest >= frame["data"]["n"], "no event before its state"


async def test_a_late_joiner_converges_while_updates_go_on(server: Running) -> None:
    async with viewing(server.socket_url()) as early:
        await early.next()
        queueing = asyncio.create_task(
            asyncio.to_thread(server.act, "flood", "late", agents=50, rounds=20, size=200)
        )
        async with viewing(server.socket_url()) as late:
            for one in (early, late):
                await one.until(
                    lambda one=one: all(one.agents.get(f"late_{n}", {}).get("n") == 19 for n in range(50))
                )
        await queueing
        assert late.agents.items() >= {k: v for k, v in early.agents.items() if k.startswith("late")}.items()


async def test_channels_are_joined_and_left_and_what_is_not_open_is_refused(server: Running) -> None:
    async with viewing(server.socket_url()) as viewer:
        assert (await viewer.ask({"type": "subscribe", "channels": ["news", "secret"]}))["channels"] == [
            "news"
        ]
        assert (await viewer.answer("error"))["code"] == "channel_refused"
        await asyncio.to_thread(server.act, "events", "told", count=1, channels=["secret"])
        await asyncio.to_thread(server.act, "events", "told", count=1, first=1, channels=["news"])
        await viewer.until(lambda: any(event["agent_id"] == "told" for event in viewer.events))
        assert [event["data"]["n"] for event in viewer.events if event["agent_id"] == "told"] == [1]
        await viewer.ask({"type": "unsubscribe", "channels": ["news"]}, "unsubscription_confirmed")
        await asyncio.to_thread(server.act, "events", "told", count=1, first=2, channels=["news"])
        await viewer.until(lambda: viewer.agents.get("told") == {"n": 2})
        assert (await viewer.ask({"type": "ping", "timestamp": 5}))["timestamp"] == 5
        assert [event["data"]["n"] for event in viewer.events if event["agent_id"] == "told"] == [1]


async def test_a_member_acts_and_a_stranger_may_not(server: Running) -> None:
    action = {"type": "agent_action", "agent_id": "acted", "action": "state", "params": {"by": "member"}}
    async with viewing(server.socket_url()) as stranger:
        assert (await stranger.ask(action))["code"] == "forbidden"
        async with viewing(server.socket_url(), server.cookies["visitor"]) as member:
            answer = await member.ask(action)
            assert answer == {"type": "action_queued", "agent_id": "acted", "action": "state"}
        await stranger.until(lambda: stranger.agents.get("acted") == {"by": "member"})


async def test_the_admin_socket_is_for_operators(server: Running) -> None:
    url = server.socket_url("/ws/updates/admin/")
    assert await refusal(url) == 403
    assert await refusal(url, Cookie=server.cookies["visitor"], Origin=server.url) == 403
    async with viewing(url, server.cookies["operator"]) as operator:
        assert (await operator.next())["type"] == "admin_connected"
        await operator.say({"command": "get_health"})
        health = await operator.answer("health_status", "error")
        assert health["type"] == "health_status", health


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("/ws/updates/", "http://elsewhere.example"),
        ("/ws/updates/", "http://[::1"),
        ("/ws/updates/", "null"),
        ("/ws/elsewhere/", ""),
        ("/", ""),
        ("//ws/updates/", ""),
    ],
)
async def test_foreign_origins_and_unknown_paths_are_refused(server: Running, path: str, origin: str) -> None:
    headers = {"Origin": origin} if origin else {}
    # Autobahn, below daphne, refuses what is no URL itself.
    assert await refusal(server.socket_url(path), **headers) in ((400, 403) if "[" in origin else (403,))


async def test_bad_frames_are_answered_and_the_socket_goes_on(server: Running) -> None:
    async with viewing(server.socket_url()) as viewer:
        for frame, code in [
            ("{", "invalid_json"),
            ("[]", "invalid_frame"),
            ('{"type":"__class__"}', "unknown_type"),
            ("[" * 100 + "]" * 100, "too_deep"),
            ("x" * 70_000, "frame_too_large"),
            (b"\xff\xfe", "invalid_utf8"),
            ('{"type":"ping","type":"ping"}', "duplicate_key"),
            ({"type": "subscribe", "channels": "news"}, "invalid_field"),
        ]:
            assert (await viewer.ask(frame, "error"))["code"] == code
        assert (await viewer.ask({"type": "ping", "timestamp": 1}))["type"] == "pong"
        assert (await viewer.ask(b'{"type":"ping","timestamp":2}'))["timestamp"] == 2


@pytest.mark.parametrize("code", SERVED_CODES, ids=lambda code: code.name)
async def test_close_codes_arrive_with_their_reasons(server: Running, code: Any) -> None:
    async with viewing(server.socket_url()) as viewer:
        connection_id = (await viewer.next())["connection_id"]
        await asyncio.to_thread(server.act, "close", connection_id, code=code.code)
        assert await viewer.ending() == (code.code, code.reason if server.kind.tells_reasons else "")


async def test_a_flooder_is_told_and_closed(server: Running) -> None:
    async with viewing(server.socket_url(), ping_interval=None) as viewer:

        async def flood() -> None:
            for n in range(2000):
                await viewer.say({"type": "ping", "timestamp": n})

        flooding = asyncio.create_task(flood())
        code, _ = await viewer.ending()
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        if code == 1006 and not server.kind.awaits_close:
            return  # a reset throws away what it had not read
        assert code == 4008
        assert any(frame.get("code") == "rate_limited" for frame in viewer.frames)


@pytest.mark.fault(
    "F34", "a client that stops reading delays nobody, costs no queue, and ends with the newest state"
)
async def test_a_client_that_stops_reading_delays_nobody_and_ends_with_the_newest(server: Running) -> None:
    agents, rounds = 40, 25
    async with stalled(server.socket_url(), server.port) as slow, viewing(server.socket_url()) as viewer:
        await slow.next()
        await viewer.next()
        flooding = asyncio.create_task(
            asyncio.to_thread(server.act, "flood", "big", agents=agents, rounds=rounds, size=16_000)
        )

        def has_all(agents_seen: dict[str, Any]) -> bool:
            return all(agents_seen.get(f"big_{n}", {}).get("n") == rounds - 1 for n in range(agents))

        await viewer.until(lambda: has_all(viewer.agents))
        await flooding
        behind = (await asyncio.to_thread(server.call, "get_connections"))["behind"]
        assert behind == (1 if server.kind.send_waits else 0)
        await slow.until(lambda: has_all(slow.agents))
        frames = sum(str(frame.get("agent_id")).startswith("big") for frame in slow.frames)
        if server.kind.send_waits:
            assert frames < agents * rounds, "what it could not take was conflated"


async def test_who_went_away_is_gone_from_the_server(server: Running) -> None:
    """Sockets that are closed, cut, or dropped in mid-handshake leave no task and no connection behind."""
    before = await asyncio.to_thread(server.census)
    for _ in range(5):
        url = server.socket_url()
        async with viewing(url) as viewer, viewing(url, close_timeout=0.1) as other:
            await viewer.next()
            await other.next()
            other.socket.transport.abort()
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /ws/updates/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n")
        await writer.drain()
        writer.transport.abort()
    async with asyncio.timeout(20):
        while True:
            after = await asyncio.to_thread(server.census)
            if after["connections"] == before["connections"] == 0 and after["writers"] == 0:
                break
            await asyncio.sleep(0.05)


async def test_reports_are_reached_from_another_process(server: Running) -> None:
    health = await asyncio.to_thread(server.call, "get_health")
    assert health["health_status"] in ("healthy", "degraded"), json.dumps(health)
    account = (await asyncio.to_thread(server.call, "get_metrics"))["conservation"]
    for row in account.values():
        assert row["accepted"] == sum(n for term, n in row.items() if term != "accepted")
