"""Several workers of one server: with the memory transport each has agents and viewers of its own."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from .clients import Viewer, viewing
from .conftest import People
from .kinds import PRELOADED
from .running import serve

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(PRELOADED.name)]


@pytest.mark.fault("F5", "preloaded workers have pipelines of their own, and each update one sender, once")
async def test_preloaded_workers_serve_their_own_viewers_each_update_once(
    tmp_path: Path, people: People
) -> None:
    """Through a reference from before the fork, too: the page queues by one."""
    with serve(PRELOADED, tmp_path, people) as server:
        pids = await asyncio.to_thread(server.pids)
        assert len(pids) == 2
        async with contextlib.AsyncExitStack() as stack:
            viewers: dict[int, list[Viewer]] = {pid: [] for pid in pids}
            for _ in range(200):
                viewer = await stack.enter_async_context(viewing(server.socket_url()))
                connection_id = (await viewer.next())["connection_id"]
                for pid in pids:
                    report = await asyncio.to_thread(server.call, "get_connections", pid=pid)
                    if connection_id in {one["connection_id"] for one in report["connections"]}:
                        viewers[pid].append(viewer)
                if all(viewers.values()):
                    break
            served = [int((await asyncio.to_thread(server.page)).split()[-1]) for _ in range(20)]
            for pid in pids:
                await asyncio.to_thread(server.act, "state", f"of_{pid}", pid=pid, n=1)
            for pid, own in viewers.items():
                for viewer in own:
                    await viewer.until(lambda viewer=viewer, pid=pid: f"of_{pid}" in viewer.agents)

                    def seen(viewer: Viewer = viewer) -> list[int]:
                        return [event["data"]["by"] for event in viewer.events if event["agent_id"] == "page"]

                    await viewer.until(lambda seen=seen, pid=pid: len(seen()) >= served.count(pid))
                    assert (await viewer.ask({"type": "ping"}))["type"] == "pong"
                    assert seen() == [pid] * served.count(pid), "each once, and no other worker's"
