"""Bytes on the wire for each update of a recorded simulation: full states, the classic protocol, the sync protocol.

    python benchmarks/bytes_per_update.py [recording] [--steps-per-s 2] [--deflate]

Plays a Generative Agents recording (by default `smallville_movement.json` in ../shared/data or UPDATE_PIPELINE_DATA)
through a whole pipeline to the sockets' own code, on a loop whose waiting takes no time. So the figures depend on the
recording and on the code, and on no machine: the same bytes each time.

Counted is the payload of each message and its WebSocket header (RFC 6455, section 5.2), down to a client, and up from
it. Not counted are the handshake and what TCP and TLS add. With `--deflate` each message down is also counted as
permessage-deflate would send it (RFC 7692, context kept), which costs a server the work once for each client.

Each recorded change is played as two kinds of state:

    as recorded       what `plugins.sources.movement_state` makes of it
    villa             what the example's browsers show: a nested state of 2 to 4 KB, as the founding application had
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "example_project")]

from dating_show.services.frontend_state_adapter import FrontendStateAdapter
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa.guests import GuestBook
from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core import frames
from django_update_pipeline.core.codec import encode_value
from django_update_pipeline.core.recording import Recording
from django_update_pipeline.plugins.sources import movement_state, read_recording
from django_update_pipeline.runtime.socket import ClassicSocket, SocketClient
from django_update_pipeline.runtime.sync_socket import SyncSocket
from django_update_pipeline.testing import LoopClock, VirtualTimeLoop
from django_update_pipeline.testing.mirror import Mirror

State = dict[str, Any]
#: One step: its place in time, and the new states by agent.
Step = tuple[int, list[tuple[str, State]]]

CHANNEL = "updates"


def default_recording() -> Path:
    """Where the recording lies, if it is there."""
    folder = Path(os.environ.get("UPDATE_PIPELINE_DATA", ROOT.parent / "shared" / "data"))
    return folder / "smallville_movement.json"


def on_the_wire(size: int, *, is_masked: bool = False) -> int:
    """A message's bytes: its payload and the header, with a mask where a client sends it."""
    header = 2 if size < 126 else 4 if size < 65536 else 10
    return size + header + (4 if is_masked else 0)


class Line:
    """What goes down one connection."""

    def __init__(self) -> None:
        self.bytes = self.deflated = self.messages = 0
        self.renew()

    def renew(self) -> None:
        """Another connection: compression begins anew."""
        self._deflate = zlib.compressobj(wbits=-15)

    def send(self, text: str) -> None:
        """Counts one message."""
        payload = text.encode()
        packed = self._deflate.compress(payload) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self.bytes += on_the_wire(len(payload))
        self.deflated += on_the_wire(len(packed) - 4)  # without the empty block at its end
        self.messages += 1


# what is played


def recorded_states(recording: Recording) -> Iterator[Step]:
    """Each change as the state that `movement_state` makes of it."""
    for step in recording.steps:
        yield step.step, [(name, movement_state(movement)) for name, movement in step.agents.items()]


def villa_states(recording: Recording) -> Iterator[Step]:
    """Each change as the villa's browsers get it: guests of the example, through its manager and adapter."""

    class NoTimer:
        def __init__(self, *_: object) -> None:
            """The states are read at once."""

        def start(self) -> None:
            """Nothing waits."""

    manager = UnifiedAgentManager(timer=NoTimer)
    book, adapter = GuestBook(manager), FrontendStateAdapter(manager)
    for step in recording.steps:
        book.play(step.step, {name: movement_state(one) for name, one in step.agents.items()})
        moved = [f"guest_{name.lower().replace(' ', '_')}" for name in step.agents]
        yield step.step, [(agent_id, adapter.get_agent_for_frontend(agent_id) or {}) for agent_id in moved]


KINDS: dict[str, Callable[[Recording], Iterator[Step]]] = {
    "as recorded": recorded_states,
    "villa": villa_states,
}


# clients


@dataclass
class Client:
    """One client of a pipeline, over the socket's own code. It counts, and keeps what it is shown.

    Args:
        kind: the socket's class: its protocol.
        takes_s: how long it takes to read one message; the socket waits meanwhile.
        stays_s: it is cut after so long, and comes back after `away_s`; 0 for never.
    """

    name: str
    kind: type[ClassicSocket]
    takes_s: float = 0.0
    stays_s: float = 0.0
    away_s: float = 5.0
    line: Line = field(default_factory=Line)
    up: int = 0
    states: dict[str, State] = field(default_factory=dict)
    mirror: Mirror = field(default_factory=Mirror)
    resets: int = 0
    connections: int = 0

    async def run(self, pipeline: UpdatePipeline) -> None:
        """Connects, again and again, until it is cancelled."""
        while True:
            self.connections += 1
            self.line.renew()
            try:
                async with asyncio.timeout(self.stays_s or None):
                    await self._connect(pipeline)
            except TimeoutError:
                await asyncio.sleep(self.away_s)

    async def _connect(self, pipeline: UpdatePipeline) -> None:
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        def say(frame: Any) -> None:
            text = encode_value(frame).decode()
            self.up += on_the_wire(len(text.encode()), is_masked=True)
            inbox.put_nowait({"type": "websocket.receive", "text": text})

        async def send(message: dict[str, Any]) -> None:
            text = message.get("text")
            if text is None:
                return
            self.line.send(text)
            self._show(json.loads(text), say)
            if self.takes_s:
                await asyncio.sleep(self.takes_s)

        client = SocketClient(f"{self.name} {self.connections}")
        socket = self.kind(pipeline, client)
        try:
            await socket.serve(inbox.get, send)
        finally:
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def _show(self, frame: State, say: Callable[[Any], None]) -> None:
        if frame["type"] == "connection_established" and self.kind is SyncSocket:
            since = self.mirror.since()
            say(
                {"type": "subscribe", "channels": [CHANNEL], **({"since": {CHANNEL: since}} if since else {})}
            )
        elif frame["type"] == "agent_update":
            self.states[frame["agent_id"]] = frame["data"]
        elif frame["type"] == "sync":
            if frame["channel"] == CHANNEL:
                assert self.mirror.apply(frame)
                self.states = self.mirror.agents
                self.resets += bool(frame.get("reset"))
            if frame.get("ack"):
                say({"type": "ack", "channel": frame["channel"], "offset": frame["to"], "age_ms": 25.5})


def clients() -> list[Client]:
    """Everybody who watches, each for one row of the table."""
    return [
        Client("classic protocol, keeps up", ClassicSocket),
        Client("sync protocol, keeps up", SyncSocket),
        Client("sync protocol, away for 5 s each minute", SyncSocket, stays_s=60.0),
        Client("classic protocol, away for 5 s each minute", ClassicSocket, stays_s=60.0),
        Client("sync protocol, a message takes 10 s", SyncSocket, takes_s=10.0),
        Client("classic protocol, a message takes 10 s", ClassicSocket, takes_s=10.0),
    ]


# the run


@dataclass(frozen=True)
class Measured:
    """One row: bytes a client was sent, and sent itself, over all updates."""

    name: str
    updates: int
    line: Line
    full: Line
    up: int = 0

    @property
    def per_update(self) -> float:
        """Bytes down, for each update that was queued."""
        return self.line.bytes / self.updates

    @property
    def ratio(self) -> float:
        """Of what full states take."""
        return self.line.bytes / self.full.bytes

    def cells(self) -> list[str]:
        """Its row of the table."""
        up = f"{self.up / self.updates:.0f}"
        return [self.name, f"{self.per_update:,.0f}", f"{self.ratio:.3f}", f"{self.line.messages:,}", up]


async def play(recording: Recording, kind: str, steps_per_s: float) -> list[Measured]:
    """Plays a recording to all clients; the first row is a full state for each update, which is counted, not sent."""
    pipeline = UpdatePipeline(clock=LoopClock())
    watching = clients()
    full = Line()
    updates = 0
    truth: dict[str, State] = {}
    async with pipeline, asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run(pipeline)) for client in watching]
        await asyncio.sleep(1.0)
        began = pipeline.clock.monotonic()
        for number, states in KINDS[kind](recording):
            await asyncio.sleep(max(0.0, began + number / steps_per_s - pipeline.clock.monotonic()))
            for agent_id, state in states:
                pipeline.queue_agent_update(agent_id, data=state)
                text = encode_value(state).decode()
                truth[agent_id] = json.loads(text)
                full.send(frames.agent_update(agent_id, "state_change", text, pipeline.clock.time()))
                updates += 1
        async with asyncio.timeout(600):
            while not all(client.states == truth for client in watching):  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(1.0)
        assert all(client.mirror.repaired == 0 for client in watching)
        # Who comes back is told what changed: only the first time all.
        assert all(client.resets == 1 for client in watching if client.kind is SyncSocket)
        for task in tasks:
            task.cancel()
    rows = [Measured("full state for each update", updates, full, full)]
    return rows + [Measured(one.name, updates, one.line, full, one.up) for one in watching]


def measure(recording: Recording, kind: str, steps_per_s: float) -> list[Measured]:
    """One table's rows."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(play(recording, kind, steps_per_s))


def main() -> None:
    """Prints a table for each kind of state."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("recording", nargs="?", type=Path, default=default_recording())
    parser.add_argument(
        "--steps-per-s", type=float, default=2.0, help="recorded steps in a second (default: 2)"
    )
    parser.add_argument("--kind", choices=KINDS, help="only this kind of state")
    parser.add_argument("--deflate", action="store_true", help="also as permessage-deflate would send it")
    options = parser.parse_args()
    if not options.recording.exists():
        sys.exit(f"no recording at {options.recording}: name one, or set UPDATE_PIPELINE_DATA to its folder")
    recording = read_recording(options.recording)
    for kind in [options.kind] if options.kind else KINDS:
        rows = measure(recording, kind, options.steps_per_s)
        print(f"{kind}: {rows[0].updates} updates, {rows[0].per_update:,.0f} bytes each as a full state\n")
        head = ["client", "bytes an update", "of full states", "messages", "bytes up"]
        print(table_row(head + ["deflated"] * options.deflate) + "\n|" + "---|" * (5 + options.deflate))
        for row in rows:
            print(table_row(row.cells() + [f"{row.line.deflated / row.updates:,.0f}"] * options.deflate))
        print()


def table_row(cells: list[str]) -> str:
    """A row in markdown."""
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
