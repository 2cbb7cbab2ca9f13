"""What "the changes since" cost: one changed field of a large state, and a resume after many missed updates.

usage: python benchmarks/changes.py [--rounds 5] [--missed 100000]

In process, one sync connection whose socket takes everything and acknowledges nothing (its window is large).

- *field*: states of 25 agents, about 4 KB of JSON; each update is the whole state again with one field changed, as a
  source hands it over, in ticks of 25 so that nothing conflates. Microseconds of processor time an update from the
  call to the frame, bytes of frames an update; the same without any connection is what the fan-out adds to.
- *resume*: a connection comes back after so many updates of 25 agents. Milliseconds for all frames of its catch-up,
  and their bytes beside the bytes of what changed (names and values as JSON). The states are those of `ingest.py`, or
  one number of each changed.

Exits with 1 when a field costs 200 bytes or 30 us, or a resume 1 ms, or twice the bytes of what changed. The last
bound is not judged where one number changed: the agents' names alone are more than that.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import sys
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import msgspec
from ingest import AGENTS, large_state, small_state

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.config import BatchingConfig, ConnectionConfig, PipelineConfig
from django_update_pipeline.core.view import View

CHANNEL = "updates"
TICKS = 200


def make_pipeline() -> UpdatePipeline:
    """As by default, but that nothing pauses, and a client need not acknowledge."""
    return UpdatePipeline(
        PipelineConfig(
            connections=ConnectionConfig(window_bytes=1 << 30, window_frames=1 << 30),
            batching=BatchingConfig(batch_timeout_ms=0),
        )
    )


class Client:
    """A sync connection that counts what it is sent."""

    def __init__(self, pipeline: UpdatePipeline, since: tuple[str, int] | None = None) -> None:
        self.frames = self.bytes = 0
        manager = pipeline.websocket_manager
        session = manager.sync_session()
        session.subscribe({View(CHANNEL): since})
        self.connection = manager.open("client", self.send, session=session)

    async def send(self, message: dict[str, Any]) -> None:
        """Takes a frame."""
        self.frames += 1
        self.bytes += len(message["text"].encode())


def agent(number: int) -> str:
    return f"agent_{number:03d}"


async def settle(pipeline: UpdatePipeline) -> None:
    """Returns when everything queued was delivered and written."""
    processor, manager = pipeline.batch_processor, pipeline.websocket_manager
    while any(processor.get_pending_count().values()) or manager.behind_count():  # noqa: ASYNC110 - no timer in it
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def field(with_client: bool) -> tuple[float, float]:
    """Microseconds and bytes an update."""
    pipeline = make_pipeline()
    states = [large_state(number) for number in range(AGENTS)]
    async with pipeline:
        client = Client(pipeline) if with_client else None
        for number, state in enumerate(states):
            pipeline.queue_agent_update(agent(number), "state_change", state)
        await settle(pipeline)
        sent = client.bytes if client else 0
        began = process_time()
        for tick in range(TICKS):
            for number, state in enumerate(states):
                state["mood"] = tick + number / 1000
                pipeline.queue_agent_update(agent(number), "state_change", state)
            await settle(pipeline)
        took = process_time() - began
        updates = TICKS * AGENTS
        return took / updates * 1e6, ((client.bytes if client else 0) - sent) / updates


async def resume(
    missed: int, change: Callable[[int, dict[str, Any]], dict[str, Any]]
) -> tuple[float, int, int]:
    """Milliseconds, bytes of the catch-up, bytes of what changed."""
    pipeline = make_pipeline()
    first = [small_state(number) for number in range(AGENTS)]
    last = list(first)
    async with pipeline:
        for number, state in enumerate(first):
            pipeline.queue_agent_update(agent(number), "state_change", state)
        await settle(pipeline)
        position = pipeline.store.epoch, pipeline.store.head
        for count in range(missed):
            number = count % AGENTS
            last[number] = change(count, last[number])
            pipeline.queue_agent_update(agent(number), "state_change", last[number])
            if number == AGENTS - 1:
                await settle(pipeline)
        began = perf_counter()
        client = Client(pipeline, position)
        await settle(pipeline)
        took = perf_counter() - began
        changed = [
            {name: value for name, value in now.items() if before[name] != value}
            for before, now in zip(first, last, strict=True)
        ]
        return took * 1000, client.bytes, sum(len(msgspec.json.encode(one)) for one in changed)


def whole(count: int, state: dict[str, Any]) -> dict[str, Any]:
    """Every field has another value."""
    new = small_state(count + 1)
    new["current_action"] = f"talking {count}"
    new["note"] = f"{count:0150d}"
    new["position"] = {"x": count / 4, "y": count / 8}
    return new


def number_only(count: int, state: dict[str, Any]) -> dict[str, Any]:
    """One number has another value."""
    return {**state, "mood": count / 1000}


def main() -> int:
    """Print the figures; whether they are within the bounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--missed", type=int, default=100_000)
    options = parser.parse_args()
    print(
        f"CPython {platform.python_version()}, msgspec {msgspec.__version__}, medians of {options.rounds}\n"
    )
    fields = [(asyncio.run(field(False))[0], *asyncio.run(field(True))) for _ in range(options.rounds)]
    bare, us, size = (statistics.median(column) for column in zip(*fields, strict=True))
    print(f"field: {us:.1f} us an update to the frame ({bare:.1f} without a connection), {size:.0f} bytes")
    good = us < 30 and size < 200
    for name, change in (("all fields", whole), ("one number", number_only)):
        runs = [asyncio.run(resume(options.missed, change)) for _ in range(options.rounds)]
        ms, sent, changed = (statistics.median(column) for column in zip(*runs, strict=True))
        print(
            f"resume, {name} of {AGENTS} agents after {options.missed} updates: {ms:.2f} ms, {sent:.0f} bytes"
            f" for {changed:.0f} bytes of changed fields"
        )
        good &= ms < 1 and (change is number_only or sent < 2 * changed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
