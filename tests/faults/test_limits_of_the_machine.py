"""What the machine has no more of: room on the disk, file descriptors, threads."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from django_update_pipeline import PipelineConfig, UpdatePipeline, hookimpl, service
from django_update_pipeline.assembly import build_pipeline
from django_update_pipeline.runtime.socket import SocketClient
from django_update_pipeline.testing import RecordingSocket
from tests.servers.clients import Viewer, viewing
from tests.servers.kinds import KINDS
from tests.servers.running import make_people, serve


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_people(tmp_path_factory.mktemp("people"))


@pytest.fixture
def process_pipeline(settings: Any) -> Iterator[UpdatePipeline]:
    settings.UPDATE_PIPELINE = {"TRANSPORT": "memory", "ENTRY_POINTS": False, "ON_COMMIT": False}
    service.reset_update_pipeline()
    yield service.get_update_pipeline()
    service.reset_update_pipeline()


@pytest.mark.fault(
    "F41", "without room for the control socket the process serves all the same, and says so once"
)
@pytest.mark.parametrize("what", ["mkdir", "bind"])
async def test_a_full_disk_leaves_out_the_control_socket_only(
    process_pipeline: UpdatePipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    import socket

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_room(*_: Any, **__: Any) -> None:
        raise full

    class FullSocket(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family == socket.AF_UNIX:
                raise full
            super().bind(address)

    runtime = tempfile.mkdtemp(prefix="dup-")
    monkeypatch.setenv("UPDATE_PIPELINE_RUNTIME_DIR", runtime)
    monkeypatch.setattr(*((os, "mkdir", no_room) if what == "mkdir" else (socket, "socket", FullSocket)))
    try:
        for _ in range(3):
            await service.start_serving(process_pipeline)
        viewer = RecordingSocket()
        await process_pipeline.register_websocket("one", viewer)
        process_pipeline.queue_agent_update("agent", data={"n": 1})
        await viewer.until(lambda: viewer.states.get("agent") == {"n": 1})
    finally:
        await service.stop_serving(process_pipeline)
        shutil.rmtree(runtime)
    complaints = [
        record.getMessage() for record in caplog.records if "commands can't reach" in record.getMessage()
    ]
    assert len(complaints) == 1
    assert os.strerror(errno.ENOSPC) in complaints[0]


@pytest.mark.slow
@pytest.mark.fault("F41", "a log that can't be written (no room on the disk) changes nothing for the clients")
async def test_a_log_that_can_not_be_written_harms_nobody(people: Any, tmp_path: Path) -> None:
    full = replace(KINDS[0], command=("-c", TO_A_FULL_DISK, *KINDS[0].command))
    with serve(full, tmp_path, people) as server:
        async with viewing(server.socket_url()) as viewer:
            await viewer.next()
            assert (await viewer.ask("{"))["code"] == "invalid_json"
            await asyncio.to_thread(server.act, "events", "told", count=50)
            await viewer.until(lambda: len(viewer.events) == 50)
        assert server.log == "", "it went to /dev/full"


TO_A_FULL_DISK = """
import os, sys
full = os.open("/dev/full", os.O_WRONLY)
os.dup2(full, 1)
os.dup2(full, 2)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

FEW_DESCRIPTORS = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and RLIMIT_NOFILE as Linux has them")
@pytest.mark.fault("F42", "without descriptors the clients there are served on, and accepting recovers")
async def test_without_descriptors_those_there_are_served_and_accepting_recovers(
    people: Any, tmp_path: Path
) -> None:
    few = replace(
        KINDS[0],
        # asyncio tries, and complains, as often at once as the backlog is long.
        command=("-c", FEW_DESCRIPTORS, *KINDS[0].command, "--loop", "asyncio", "--backlog", "16"),
        noise=(
            (
                r"^[^\n]*socket\.accept\(\) out of system resource.*?Too many open files$",
                "asyncio says so each time",
            ),
            (
                r"^Exception in callback BaseSelectorEventLoop\._start_serving.*?Invalid file descriptor: -1$",
                "and wants to accept again on a listener that was closed meanwhile",
            ),
        ),
    )
    with serve(few, tmp_path, people) as server:
        url = server.socket_url()
        await asyncio.to_thread(server.act, "tick", "ticking", seconds=60)
        async with contextlib.AsyncExitStack() as stack:
            viewers: list[Viewer] = []
            with contextlib.suppress(TimeoutError):
                for _ in range(80):
                    viewing_one = viewing(url, open_timeout=2, ping_interval=None)
                    viewers.append(await stack.enter_async_context(viewing_one))
            assert 20 < len(viewers) < 64
            assert "Too many open files" in server.log
            for viewer in (viewers[0], viewers[-1]):
                newest = viewer.agents.get("ticking", {}).get("n", -1)
                await viewer.until(
                    lambda viewer=viewer, n=newest: viewer.agents.get("ticking", {}).get("n", -1) > n + 15
                )
            await asyncio.gather(*(viewer.socket.close() for viewer in viewers))
            async with viewing(url, open_timeout=30) as late:
                await late.until(lambda: "ticking" in late.agents)


@pytest.mark.fault(
    "F43", "where no thread can be started the pipeline delivers, or one clear error leaves it as it was"
)
async def test_without_threads_it_delivers_or_says_why(
    process_pipeline: UpdatePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    before = asyncio.all_tasks()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        try:
            await process_pipeline.start()
        except RuntimeError as error:
            assert "can't start new thread" in str(error)  # noqa: PT017
            assert not process_pipeline.is_running
            assert asyncio.all_tasks() == before
        process_pipeline.queue_agent_update("agent", data={"n": 1})
        await process_pipeline.stop()
    viewer = RecordingSocket()
    async with process_pipeline:
        await process_pipeline.register_websocket("one", viewer)
        await viewer.until(lambda: viewer.states.get("agent") == {"n": 1})
    assert asyncio.all_tasks() == before


class Asks:
    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str) -> bool:
        return True


ASKS = Asks()


@pytest.mark.fault("F43", "where no thread can be started a hook that needs one counts as a no")
async def test_a_hook_without_a_thread_is_a_no(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = build_pipeline(PipelineConfig(entry_points=False), extra_plugins=[ASKS])
    client = SocketClient("one")

    def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert not await pipeline.access.may_subscribe(client, "news")
    assert "can't start new thread" in caplog.text
    assert await pipeline.access.may_subscribe(client, "news")
