"""A server that is told to end: what was queued is delivered, clients are told, nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from .clients import stalled, viewing
from .conftest import People, each
from .kinds import HYPERCORN_ALONE, KINDS, PRELOADED, ServerKind
from .running import serve

pytestmark = pytest.mark.slow


@pytest.mark.fault(
    "F3", "what was queued is delivered before the sockets close, clients are told, and the process ends"
)
@pytest.mark.parametrize("kind", each((*KINDS, HYPERCORN_ALONE, PRELOADED)))
async def test_sigterm_delivers_tells_and_ends(kind: ServerKind, tmp_path: Path, people: People) -> None:
    """Also with a client that reads nothing any more, which must not hold the others up."""
    with serve(kind, tmp_path, people, pipeline={"STOP_TIMEOUT_S": 5.0}) as server:
        url = server.socket_url()
        async with stalled(url, server.port) as slow, viewing(url) as one, viewing(url) as other:
            for viewer in (slow, one, other):
                await viewer.next()
            pids = await asyncio.to_thread(server.pids)
            for pid in pids:
                await asyncio.to_thread(server.act, "events", f"last_{pid}", pid=pid, count=200)
            ending = asyncio.create_task(asyncio.to_thread(server.end))
            for viewer in (one, other):
                code, _ = await viewer.ending()
                assert code in kind.codes_at_end, (code, server.log)
                if code != 1006:
                    assert [event["data"]["n"] for event in viewer.events] == list(range(200))
            took = await ending
        assert server.log.count("runtime.life: pipeline stopped") == kind.workers, server.log
        assert took < 15
        left = os.listdir(server.environment["UPDATE_PIPELINE_RUNTIME_DIR"])
        folders = [Path(server.environment["UPDATE_PIPELINE_RUNTIME_DIR"], name) for name in left]
        assert not [path for folder in folders for path in folder.iterdir()], "control sockets are removed"


@pytest.mark.parametrize("kind", each((KINDS[0], KINDS[2])))
async def test_a_hanging_transport_does_not_keep_a_server_from_ending(
    kind: ServerKind, tmp_path: Path, people: People
) -> None:
    """With the breaker open what waits can't be delivered: it is waited for, and then the process ends."""
    with serve(kind, tmp_path, people, pipeline={"STOP_TIMEOUT_S": 1.0}) as server:
        async with viewing(server.socket_url()) as viewer:
            await viewer.next()
            await asyncio.to_thread(server.act, "hang")
            began = time.monotonic()
            ending = asyncio.create_task(asyncio.to_thread(server.end))
            code, _ = await viewer.ending()
            assert code in kind.codes_at_end
            await ending
            assert time.monotonic() - began >= 1.0
