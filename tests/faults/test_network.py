"""Bad lines between real clients and a real server: `proxy` sits in between and does what networks do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.servers.clients import Viewer, stalled, viewing
from tests.servers.kinds import KINDS
from tests.servers.running import Running, make_people, serve

from .proxy import FaultProxy

pytestmark = pytest.mark.slow

IS_LONG = os.environ.get("UPDATE_PIPELINE_LONG") == "1"

#: With pings so frequent that a test need not wait for them.
PINGING = replace(
    KINDS[0], command=(*KINDS[0].command, "--ws-ping-interval", "0.5", "--ws-ping-timeout", "2")
)
DAPHNE = replace(
    KINDS[2], command=(*(part.replace("20", "1") for part in KINDS[2].command), "--ping-timeout", "2")
)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory, people: Any) -> Iterator[Running]:
    with serve(KINDS[0], tmp_path_factory.mktemp("served"), people) as running:
        yield running


@pytest.fixture
def server(shared_server: Running) -> Running:
    """The server without the agents of the test before."""
    shared_server.act("forget", "forgotten")
    return shared_server


@pytest.fixture(scope="module")
def pinging_server(tmp_path_factory: pytest.TempPathFactory, people: Any) -> Iterator[Running]:
    with serve(PINGING, tmp_path_factory.mktemp("pinging"), people) as running:
        yield running


@contextlib.asynccontextmanager
async def proxied(server: Running) -> AsyncIterator[tuple[FaultProxy, str]]:
    async with FaultProxy(server.port) as proxy:
        yield proxy, f"ws://127.0.0.1:{proxy.port}/ws/updates/"


async def becomes(condition: Callable[[], Any], within_s: float = 30.0) -> None:
    """Waits for what only asking tells."""
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def nobody_is_left(server: Running) -> None:
    await becomes(lambda: server.census()["connections"] == 0)
    assert (await asyncio.to_thread(server.census))["writers"] == 0


def never_goes_back(viewer: Viewer, prefix: str) -> None:
    newest: dict[str, int] = {}
    for frame in viewer.frames:
        agent = str(frame.get("agent_id"))
        if agent.startswith(prefix):
            assert frame["data"]["n"] >= newest.get(agent, -1), f"{agent} went back"
            newest[agent] = frame["data"]["n"]


def has_all(viewer: Viewer, prefix: str, agents: int, n: int) -> Callable[[], bool]:
    return lambda: all(viewer.agents.get(f"{prefix}_{agent}", {}).get("n") == n for agent in range(agents))


@pytest.mark.fault("F30", "a client that is gone without a word is freed by the server's ping, on uvicorn")
async def test_a_client_behind_a_dead_line_is_freed(pinging_server: Running) -> None:
    server = pinging_server
    async with proxied(server) as (proxy, url), viewing(url, ping_interval=None, close_timeout=0.1) as viewer:
        await viewer.next()
        assert (await asyncio.to_thread(server.census))["connections"] == 1
        proxy.blackhole()
        await nobody_is_left(server)


@pytest.mark.channels
@pytest.mark.fault("F30", "a client that is gone without a word is freed by the server's ping, on daphne")
async def test_daphne_frees_a_client_behind_a_dead_line(
    people: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serve(DAPHNE, tmp_path_factory.mktemp("daphne"), people) as server:
        async with (
            proxied(server) as (proxy, url),
            viewing(url, ping_interval=None, close_timeout=0.1) as viewer,
        ):
            await viewer.next()
            proxy.blackhole()
            await nobody_is_left(server)


@pytest.mark.fault(
    "F31", "on a slow, narrow and unsteady line state never goes back, lag is conflated, and it converges"
)
async def test_a_bad_line_keeps_order_and_converges(server: Running) -> None:
    agents, rounds = 16, 60
    async with proxied(server) as (proxy, url), viewing(url, ping_interval=None) as viewer:
        proxy.down.delay_s, proxy.down.jitter_s, proxy.down.bytes_per_s = 0.25, 0.1, 100_000
        proxy.up.delay_s, proxy.up.jitter_s = 0.25, 0.1
        await viewer.next()
        await asyncio.to_thread(server.act, "flood", "narrow", agents=agents, rounds=rounds, size=4_000)
        await viewer.until(has_all(viewer, "narrow", agents, rounds - 1))
        never_goes_back(viewer, "narrow")
        assert len(viewer.frames) < agents * rounds, "what the line could not carry was conflated"


@pytest.mark.fault(
    "F32", "a line that passes single bytes carries everything, and a reset in mid-frame frees the socket"
)
async def test_single_bytes_and_a_reset_in_mid_frame(server: Running) -> None:
    async with proxied(server) as (proxy, url), viewing(url, close_timeout=0.1, ping_interval=None) as viewer:
        proxy.up.segment_bytes = proxy.down.segment_bytes = 1
        await viewer.next()
        assert (await viewer.ask({"type": "ping", "timestamp": 3}))["timestamp"] == 3
        await asyncio.to_thread(server.act, "state", "bytes", n=1)
        await viewer.until(lambda: viewer.agents.get("bytes") == {"n": 1})
        proxy.up.segment_bytes = proxy.down.segment_bytes = 0
        proxy.reset(after_bytes=50)
        await asyncio.to_thread(server.act, "state", "bytes", n=2, fill="x" * 1000)
        with pytest.raises(ConnectionClosed):
            await viewer.until(lambda: viewer.agents["bytes"]["n"] == 2)
        await nobody_is_left(server)


@pytest.mark.fault("F32", "a connection that is closed from one side only frees its socket")
@pytest.mark.parametrize("side", ["server", "client"])
async def test_a_half_closed_connection_is_freed(server: Running, side: str) -> None:
    async with proxied(server) as (proxy, url), viewing(url, close_timeout=0.1, ping_interval=None) as viewer:
        await viewer.next()
        proxy.half_close(side)
        await asyncio.to_thread(server.act, "state", "half", n=1)
        await nobody_is_left(server)


@pytest.mark.fault(
    "F33", "the server's pings keep an idle connection alive behind a proxy that cuts what is idle"
)
async def test_heartbeats_keep_an_idle_connection_alive(pinging_server: Running) -> None:
    server = pinging_server
    async with proxied(server) as (proxy, _):
        proxy.idle_timeout_s = 1.5
        idle = await asyncio.open_connection("127.0.0.1", proxy.port)  # says nothing, and is cut
        async with viewing(f"ws://127.0.0.1:{proxy.port}/ws/updates/", ping_interval=None) as viewer:
            await viewer.next()
            async with asyncio.timeout(30):
                with contextlib.suppress(ConnectionError):
                    assert await idle[0].read() == b""
            for _ in range(2):  # as long again, twice, by the clock of the server and of its heartbeats
                await asyncio.sleep(proxy.idle_timeout_s)
            await asyncio.to_thread(server.act, "state", "idle", n=1)
            await viewer.until(lambda: viewer.agents.get("idle") == {"n": 1})
        idle[1].transport.abort()


@pytest.mark.fault(
    "F34", "some slow readers among many: the others get everything, the slow ones the newest state"
)
async def test_slow_readers_among_many_are_alone_with_it(server: Running) -> None:
    agents, rounds = 30, 30
    url = server.socket_url()
    async with contextlib.AsyncExitStack() as stack:
        others = [await stack.enter_async_context(viewing(url)) for _ in range(20)]
        slow = [await stack.enter_async_context(stalled(url, server.port)) for _ in range(3)]
        for viewer in (*others, *slow):
            await viewer.next()
        await asyncio.to_thread(server.act, "flood", "many", agents=agents, rounds=rounds, size=8_000)
        async with asyncio.TaskGroup() as group:
            for viewer in others:
                group.create_task(viewer.until(has_all(viewer, "many", agents, rounds - 1)))
        report = await asyncio.to_thread(server.call, "get_connections")
        assert report["behind"] <= len(slow)
        for viewer in slow:
            await viewer.until(has_all(viewer, "many", agents, rounds - 1))
            never_goes_back(viewer, "many")
    await nobody_is_left(server)


@pytest.mark.fault(
    "F34",
    "on a real server, too, a client that reads nothing at all is cut after its time, and who reads stays",
)
async def test_a_client_that_reads_nothing_is_cut_and_its_descriptor_is_free(
    tmp_path: Any, people: Any
) -> None:
    connections = {"stuck_timeout_s": 3.0, "close_timeout_s": 0.5}
    with serve(KINDS[0], tmp_path, people, pipeline={"CONNECTIONS": connections}) as server:
        url = server.socket_url()
        async with stalled(url, server.port) as stuck, viewing(url) as viewer:
            await stuck.next()
            await viewer.next()
            before = await asyncio.to_thread(server.census)
            await asyncio.to_thread(server.act, "flood", "stuck", agents=40, rounds=25, size=16_000)
            await viewer.until(has_all(viewer, "stuck", 40, 24))
            await becomes(lambda: server.census()["connections"] == 1)
            await becomes(lambda: server.census()["descriptors"] < before["descriptors"])
            assert (await asyncio.to_thread(server.census))["writers"] == 1
            await asyncio.to_thread(server.act, "state", "after", n=1)
            await viewer.until(lambda: viewer.agents.get("after") == {"n": 1})
        assert server.log.count("took no frame for 3 s (CONNECTIONS stuck_timeout_s)") == 1, server.log


@pytest.mark.fault(
    "F35", "everybody is cut at once and comes back: all are served again, and nothing of before is kept"
)
async def test_everybody_reconnects_at_once(server: Running) -> None:
    """500 clients in two rounds here; 3,000 in ten with UPDATE_PIPELINE_LONG=1."""
    count, rounds = (3000, 10) if IS_LONG else (500, 2)
    await asyncio.to_thread(server.act, "state", "storm", n=-1)
    await nobody_is_left(server)
    before = await asyncio.to_thread(server.census)
    at_once = asyncio.Semaphore(200)  # of the clients' own machine
    async with proxied(server) as (proxy, url):
        for n in range(rounds):
            async with contextlib.AsyncExitStack() as stack:

                async def come(stack: contextlib.AsyncExitStack = stack) -> Viewer:
                    async with at_once:
                        return await stack.enter_async_context(
                            viewing(url, close_timeout=0.1, ping_interval=None, open_timeout=100)
                        )

                viewers = await asyncio.gather(*(come() for _ in range(count)))
                await asyncio.to_thread(server.act, "state", "storm", n=n)
                for viewer in viewers:
                    await viewer.until(lambda viewer=viewer, n=n: viewer.agents.get("storm") == {"n": n})
                proxy.reset()
    await nobody_is_left(server)
    after = await asyncio.to_thread(server.census)
    for what in ("tasks", "threads", "descriptors"):
        assert after[what] <= before[what] + 5, (what, before, after)


@pytest.mark.fault("F36", "connections that never finish their handshake keep nobody else out")
async def test_unfinished_handshakes_keep_nobody_out(server: Running) -> None:
    pieces = (b"", b"G", b"GET /ws/updates/ HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"\x16\x03\x01")
    writers = []
    try:
        for n in range(400):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(pieces[n % len(pieces)])
            writers.append(writer)
        async with viewing(server.socket_url()) as viewer:
            assert (await viewer.next())["type"] == "connection_established"
            await asyncio.to_thread(server.act, "state", "flooded", n=1)
            await viewer.until(lambda: viewer.agents.get("flooded") == {"n": 1})
            assert (await asyncio.to_thread(server.census))["connections"] == 1
    finally:
        for writer in writers:
            writer.transport.abort()


@pytest.mark.fault(
    "F38", "who comes back, with whatever position it claims, gets the newest state and no stale one"
)
@pytest.mark.parametrize(
    "since",
    [
        None,
        {"updates": {"epoch": "forged", "offset": 10**9, "view": "x"}},
        {"updates": {"epoch": "", "offset": -1}},
        {"updates": 2**53},
        "yesterday",
        [[[]]],
    ],
)
async def test_who_comes_back_gets_the_newest_state_whatever_it_claims(server: Running, since: Any) -> None:
    url = server.socket_url()
    await asyncio.to_thread(server.act, "state", "returning", n=1)
    async with viewing(url) as viewer:
        await viewer.until(lambda: viewer.agents.get("returning") == {"n": 1})
    await asyncio.to_thread(server.act, "state", "returning", n=2)
    async with viewing(url) as viewer:
        answer = await viewer.ask(json.dumps({"type": "subscribe", "channels": ["updates"], "since": since}))
        assert answer["type"] in ("subscription_confirmed", "error")
        await viewer.until(lambda: "returning" in viewer.agents)
        assert viewer.agents["returning"] == {"n": 2}
        assert (await viewer.ask({"type": "ping", "timestamp": 1}))["type"] == "pong"
