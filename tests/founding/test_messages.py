"""The founding messages, as clients send and get them over real sockets of the served example."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from django_update_pipeline.control import ControlClient

from .serving import EXAMPLE, Frame, Server, client, eventually

pytestmark = pytest.mark.slow

STATES = {"state_change", "state_patch", "state_removed"}


async def ask_operator(server: Server, **action: Any) -> None:
    """Has the villa do something, as who works on this machine: over the control socket."""

    def ask() -> None:
        with ControlClient.connect(f"dating_show.settings:{EXAMPLE}", pid=server.process.pid) as control:
            control.call("action", **action)

    await asyncio.to_thread(ask)


@pytest.fixture
def near_the_server(served: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("UPDATE_PIPELINE_RUNTIME_DIR", served.environment["UPDATE_PIPELINE_RUNTIME_DIR"])
    return served


async def test_a_connection_is_confirmed_first(served: Server) -> None:
    async with client(served) as one, client(served) as other:
        first, second = await one.next(), await other.next()
    assert first.keys() == {"type", "connection_id", "timestamp"}
    assert first["type"] == second["type"] == "connection_established"
    assert first["connection_id"] != second["connection_id"]
    assert first["timestamp"] == pytest.approx(time.time(), abs=60)


async def test_an_agent_update_carries_the_full_state(served: Server) -> None:
    async with client(served) as one:
        await one.until(lambda _: len(one.agents) >= 8)
    updates = [frame for frame in one.frames if frame["type"] == "agent_update"]
    for frame in updates:
        assert frame.keys() == {"type", "agent_id", "update_type", "data", "timestamp"}
        assert frame["data"]["agent_id"] == frame["agent_id"]
        assert isinstance(frame["timestamp"], float)


async def test_a_subscription_is_confirmed_with_what_is_allowed(served: Server) -> None:
    async with client(served) as one:
        await one.send(
            type="subscribe", channels=["dating_show_updates", "agent_notifications", "somebody_elses"]
        )
        confirmed = await one.until(lambda frame: frame["type"] == "subscription_confirmed")
        assert set(confirmed["channels"]) == {"dating_show_updates", "agent_notifications"}
        refused = await one.until(lambda frame: frame["type"] == "error")
        assert "somebody_elses" in refused["message"]


async def test_a_ping_comes_back_with_its_timestamp(served: Server) -> None:
    async with client(served) as one:
        await one.send(type="ping", timestamp=1623456789123)  # Date.now() counts milliseconds
        pong = await one.until(lambda frame: frame["type"] == "pong")
    assert pong["timestamp"] == 1623456789123
    assert pong["server_time"] == pytest.approx(time.time(), abs=60)


async def test_an_action_of_the_producer_is_queued_and_done(served: Server, producer_cookie: str) -> None:
    async with client(served, cookie=producer_cookie) as one:
        await one.until(lambda _: len(one.agents) >= 8)
        place = "garden" if one.agents["agent_001"]["current_location"] == "pool" else "pool"
        await one.send(type="agent_action", agent_id="agent_001", action="move", params={"location": place})
        answer = await one.until(lambda frame: frame["type"] in ("action_queued", "error"))
        assert answer == {"type": "action_queued", "agent_id": "agent_001", "action": "move"}
        await one.until(lambda _: one.agents["agent_001"]["current_location"] == place)


async def test_events_arrive_on_the_notifications_only_and_states_on_the_default_channel_only(
    near_the_server: Server,
) -> None:
    """A founding client replaces an agent by each `agent_update`: it must never meet an event there.

    A ceremony (which is CRITICAL) and a dialogue are brought about, and seen by who asked for notifications;
    a last state shows that the other has been told everything up to then.
    """
    server = near_the_server
    async with client(server) as watcher, client(server) as listener:
        await listener.send(type="subscribe", channels=["agent_notifications"])
        await listener.send(type="unsubscribe", channels=["dating_show_updates"])
        await listener.until(lambda frame: frame["type"] == "unsubscription_confirmed")
        before = len(listener.frames)
        await watcher.until(lambda _: len(watcher.agents) >= 8)

        async def watch() -> None:
            while True:
                await watcher.next()

        watching = asyncio.create_task(watch())
        wanted = {"dialogue": "talk", "ceremony_started": "ceremony", "rose_given": "ceremony"}
        seen: dict[str, Frame] = {}
        await ask_operator(server, agent_id="agent_001", action="talk", params={"with": "agent_002"})
        while "dialogue" not in seen:
            frame = await listener.next(25)
            seen.setdefault(frame.get("update_type", frame["type"]), frame)
        await ask_operator(server, agent_id="agent_001", action="ceremony", params={})
        while not wanted.keys() <= seen.keys():
            frame = await listener.next(30)
            seen.setdefault(frame.get("update_type", frame["type"]), frame)
        last_seen = seen["rose_given"]["timestamp"]
        await eventually(lambda: any(frame["timestamp"] > last_seen for frame in watcher.frames[-20:]))
        watching.cancel()

    assert seen["system_notification"]["message"] == "Rose ceremony starting"
    told = [frame for frame in listener.frames[before:] if frame["type"] == "agent_update"]
    assert not {frame["update_type"] for frame in told} & STATES
    shown = [frame for frame in watcher.frames if frame["type"] == "agent_update"]
    assert {frame["update_type"] for frame in shown} <= STATES
    assert any(frame["type"] == "system_notification" for frame in watcher.frames), "news goes to everybody"


async def test_the_admin_socket_answers_staff(served: Server, staff_cookie: str) -> None:
    async with client(served, "/ws/dating_show/admin/", staff_cookie) as admin:
        assert (await admin.next())["type"] == "admin_connected"
        await admin.send(command="get_health")
        await admin.send(command="get_metrics")
        health, metrics = await admin.next(), await admin.next()
        assert health["type"] == "health_status"
        assert "health_score" in str(health)
        assert metrics["type"] == "performance_metrics"
        assert "total_updates" in str(metrics)
        await admin.send(command="get_connections")
        assert (await admin.next())["type"] == "connection_info"
        await admin.send(command="reset_circuit_breaker")
        assert (await admin.next())["type"] == "circuit_breaker_reset"


@pytest.mark.parametrize("who", ["nobody", "producer"])
async def test_the_admin_socket_refuses_everybody_else(
    served: Server, producer_cookie: str, who: str
) -> None:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as refused:
        async with client(served, "/ws/dating_show/admin/", producer_cookie if who == "producer" else ""):
            pass
    assert refused.value.response.status_code == 403
