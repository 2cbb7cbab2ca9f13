"""Real input: a recorded simulation through a real server to fifty real sockets, some of them in trouble."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from dating_show.services.frontend_state_adapter import FrontendStateAdapter
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from django_update_pipeline.control import ControlClient
from django_update_pipeline.plugins.sources import movement_state, read_recording
from tests.founding.serving import EXAMPLE, ROOT, Server, eventually, serve
from tests.logs import trouble

from .recording_plugin import Stage

pytestmark = pytest.mark.slow

SETTINGS = "tests.integration.recording_settings"
VIEWERS = 50
STEPS_PER_S = 1000.0
Event = tuple[str, dict[str, Any]]
TERMS = ("delivered", "conflated", "dead_lettered", "cleared", "pending")


@pytest.fixture
def recording() -> Path:
    """The Smallville recording: a real run of Generative Agents, 4,532 changes of three agents."""
    folder = Path(os.environ.get("UPDATE_PIPELINE_DATA", ROOT.parent / "shared" / "data"))
    path = folder / "smallville_movement.json"
    if not path.exists():
        pytest.skip(
            f"no recording at {path}: set UPDATE_PIPELINE_DATA to a folder with smallville_movement.json"
        )
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(
        tmp_path,
        "dating_show.asgi:application",
        DJANGO_SETTINGS_MODULE=SETTINGS,
        DATING_SHOW_SIMULATION="off",
    ) as running:
        yield running
        assert not trouble(running.log.read_text())


class Attributes(msgspec.Struct):
    played: int


class Seen(msgspec.Struct):
    attributes: Attributes


class Frame(msgspec.Struct):
    type: str
    agent_id: str = ""
    update_type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


def narrow_socket(port: int) -> socket.socket:
    """A connection like one over a long way: by loopback's own, buffers of megabytes hide who does not read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    narrow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    narrow.connect(("127.0.0.1", port))
    narrow.setblocking(False)
    return narrow


class Viewer:
    """A founding client that connects again when it was cut off."""

    def __init__(self, server: Server) -> None:
        self.url = server.socket_url()
        self.port = server.port
        self.states: dict[str, bytes] = {}
        self.events: list[Event] = []
        self.connections = 0
        self.frames = 0
        self.socket: ClientConnection | None = None
        self.went_back: list[str] = []
        self.may_read = asyncio.Event()
        self.may_read.set()
        self._progress: dict[str, int] = {}

    async def watch(self) -> None:
        while True:
            try:
                plug = await asyncio.to_thread(narrow_socket, self.port)
                async with connect(self.url, sock=plug, compression=None, max_queue=1) as self.socket:
                    self.connections += 1
                    await self.socket.send('{"type":"subscribe","channels":["agent_notifications"]}')
                    while True:
                        await self.may_read.wait()
                        self._show(msgspec.json.decode(await self.socket.recv(), type=Frame))
            except (ConnectionClosed, OSError):
                await asyncio.sleep(0.2)

    def _show(self, frame: Frame) -> None:
        self.frames += 1
        if frame.type != "agent_update":
            return
        if frame.update_type != "state_change":
            self.events.append((frame.agent_id, msgspec.json.decode(frame.data)))
            return
        played = msgspec.json.decode(frame.data, type=Seen).attributes.played
        if played < self._progress.get(frame.agent_id, 0):
            self.went_back.append(f"{frame.agent_id}: {played} after {self._progress[frame.agent_id]}")
        self._progress[frame.agent_id] = played
        self.states[frame.agent_id] = bytes(frame.data)

    @property
    def played(self) -> int:
        """How much of the recording has arrived here."""
        return max(self._progress.values(), default=0)

    def cut(self) -> None:
        """The connection breaks: no close frame, no goodbye, what was on its way is lost."""
        assert self.socket is not None
        self.socket.transport.abort()

    def final(self) -> dict[str, Any]:
        return {agent_id: json.loads(text) for agent_id, text in self.states.items()}


def truth(path: Path) -> tuple[dict[str, Any], list[Event]]:
    """What the source ends with, by a manager and an adapter that no pipeline follows: states and events."""

    class NoTimer:
        def __init__(self, *_: object) -> None:
            pass

        def start(self) -> None:
            pass

    events: list[Event] = []
    stage = Stage(UnifiedAgentManager(timer=NoTimer), lambda name, data: events.append((name, data)))
    for step in read_recording(path).steps:
        for name, movement in step.agents.items():
            stage.play(name, movement_state(movement))
    states = FrontendStateAdapter(stage.manager).get_all_agents_for_frontend()
    return {state["agent_id"]: json.loads(json.dumps(state)) for state in states}, events


def by_agent(events: list[Event]) -> dict[str, list[dict[str, Any]]]:
    """The order that is promised is that of each agent: a more urgent change promotes all that its agent has."""
    sorted_: dict[str, list[dict[str, Any]]] = {}
    for agent_id, data in events:
        sorted_.setdefault(agent_id, []).append(data)
    return sorted_


def is_part_of(some: list[Any], all_: list[Any]) -> bool:
    """Whether `some` are of `all_`, in the same order and once each."""
    rest = iter(all_)
    return all(one in rest for one in some)


async def test_fifty_viewers_end_with_exactly_the_sources_final_state(
    recording: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty are cut off in the middle and come back, one stops reading until the end.

    Everybody ends with the source's own state, none ever goes back, who was not cut off is told of each event
    once and in order, and at every look each accepted update is in exactly one place.
    """
    monkeypatch.setenv("UPDATE_PIPELINE_RUNTIME_DIR", server.environment["UPDATE_PIPELINE_RUNTIME_DIR"])
    expected, told = await asyncio.to_thread(truth, recording)
    control = await asyncio.to_thread(
        ControlClient.connect, f"{SETTINGS}:{EXAMPLE}", 20.0, server.process.pid
    )
    happened = by_agent(told)
    accounts: list[dict[str, int]] = []

    async def ask(command: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await asyncio.to_thread(control.call, command, **params)
        return answer

    async def look() -> dict[str, int]:
        metrics = await ask("get_metrics")
        accounts.append({term: metrics[term] for term in ("accepted", *TERMS)})
        return accounts[-1]

    viewers = [Viewer(server) for _ in range(VIEWERS)]
    paused, cut = viewers[0], viewers[1:21]
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(viewer.watch()) for viewer in viewers]
        await eventually(lambda: all(viewer.frames >= 2 for viewer in viewers), 20)  # greeted and subscribed
        await ask(
            "action",
            agent_id="all",
            action="play",
            params={"path": str(recording), "steps_per_s": STEPS_PER_S},
        )

        await eventually(lambda: viewers[-1].played > 500, 20)
        paused.may_read.clear()
        for viewer in cut[:10]:
            viewer.cut()
        await look()
        await eventually(lambda: viewers[-1].played > 2000, 20)
        for viewer in cut[5:]:
            viewer.cut()
        await look()

        steady = [viewer for viewer in viewers if viewer not in cut and viewer is not paused]
        await eventually(lambda: steady[0].final() == expected, 30)
        behind = (await ask("get_connections"))["behind"]
        paused.may_read.set()
        await eventually(lambda: all(viewer.final() == expected for viewer in viewers), 10)
        await eventually(lambda: all(len(viewer.events) == len(told) for viewer in (paused, *steady)), 10)
        end = await look()
        count = (await ask("get_connections"))["count"]
        for task in watching:
            task.cancel()
    control.close()

    for account in accounts:
        assert account["accepted"] == sum(account[term] for term in TERMS), account
    assert end["pending"] == end["dead_lettered"] == end["cleared"] == 0
    assert end["accepted"] > len(told) + 1000
    assert count == VIEWERS
    assert all(viewer.went_back == [] for viewer in viewers)
    assert all(viewer.connections >= 2 for viewer in cut)
    assert all(viewer.connections == 1 for viewer in (paused, *steady))
    assert all(by_agent(viewer.events) == happened for viewer in (paused, *steady))
    for viewer in cut:
        for agent_id, events in by_agent(viewer.events).items():
            assert is_part_of(events, happened[agent_id])
    assert behind >= 1, "the server did not feel the viewer who stopped reading: this test tests too little"
    assert paused.frames < steady[0].frames, "what it missed came newest values only"
