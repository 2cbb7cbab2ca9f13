"""Start, stop and everything else in any order, from several tasks at once: random schedules, virtual time.

A schedule is a seed; a failure names it. 1,000 in each run of the tests, 10,000 with
UPDATE_PIPELINE_LONG=1.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.runtime.life import StopReport
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import FaultyTransport, LoopClock, RecordingSocket, VirtualTimeLoop

COUNT = 10_000 if os.environ.get("UPDATE_PIPELINE_LONG") == "1" else 1_000
SHARDS = 20


class Unsteady(FaultyTransport):
    """Takes its time, fails now and then, and loses answers."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance

    async def publish(self, publication: Any) -> None:
        for _ in range(self.chance.choice([0, 0, 1, 3])):
            await asyncio.sleep(0)
        if self.chance.random() < 0.1:
            await asyncio.sleep(self.chance.choice([0.01, 0.5]))
        if self.chance.random() < 0.05:
            self.fail(1)
        if self.chance.random() < 0.05:
            self.lose_answers(1)
        await super().publish(publication)


class Source:
    """Starts and stops, sometimes slowly, and counts both."""

    def __init__(self, chance: random.Random) -> None:
        self.name = "random"
        self.chance = chance
        self.running = 0

    async def start(self, pipeline: Any) -> None:
        self.running += 1
        if self.chance.random() < 0.3:
            await asyncio.sleep(self.chance.choice([0, 0.01]))

    async def stop(self) -> None:
        self.running -= 1
        if self.chance.random() < 0.3:
            await asyncio.sleep(0)


class Schedule:
    """One random life of a pipeline, and what must be true of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        config = config_from_mapping(
            {
                "batching": {"max_batch_size": 4, "batch_timeout_ms": 5},
                "circuit_breaker": {"recovery_timeout": 0.2},
            },
            PipelineConfig,
        )
        clock = LoopClock()
        parts = default_parts(config, clock)
        self.transport = Unsteady(self.chance)
        self.source = Source(self.chance)
        parts.transport, parts.sources = self.transport, [self.source]
        self.pipeline = UpdatePipeline(config, parts=parts, clock=clock)
        self.queued: Counter[str] = Counter()
        self.newest: dict[str, int] = {}
        self.sockets: list[RecordingSocket] = []

    def queue(self) -> None:
        agent = f"agent_{self.chance.randrange(3)}"
        if self.chance.random() < 0.5:
            self.pipeline.queue_agent_update(agent, "said", {"n": self.queued[agent]})
            self.queued[agent] += 1
        else:
            self.newest[agent] = self.newest.get(agent, 0) + 1
            self.pipeline.queue_agent_update(agent, "state_change", {"n": self.newest[agent]})

    async def live(self) -> None:
        """A task's random steps."""
        chance, pipeline = self.chance, self.pipeline
        for _ in range(chance.randrange(2, 9)):
            match chance.randrange(8):
                case 0 | 1:
                    await pipeline.start()
                case 2:
                    self.check(await pipeline.stop(chance.choice([None, 0, 0.001, 0.1])))
                case 3:
                    async with pipeline:
                        self.queue()
                        await asyncio.sleep(chance.choice([0, 0.001]))
                case 4:
                    step = asyncio.ensure_future(chance.choice([pipeline.start, pipeline.stop])())
                    for _ in range(chance.randrange(6)):
                        await asyncio.sleep(0)
                    step.cancel()
                    await asyncio.gather(step, return_exceptions=True)
                case 5:
                    socket = RecordingSocket(delay_s=chance.choice([0, 0.01]))
                    await pipeline.register_websocket(f"c{len(self.sockets)}", socket)
                    self.sockets.append(socket)
                case _:
                    for _ in range(chance.randrange(1, 6)):
                        self.queue()
                    await asyncio.sleep(chance.choice([0, 0, 0.003, 0.3]))

    @staticmethod
    def check(report: StopReport) -> None:
        settled = report.delivered + report.conflated + report.dead_lettered + report.cleared
        assert report.accepted == settled + report.pending, report
        assert report.dead_lettered == report.cleared == 0, report

    async def run(self) -> None:
        before = asyncio.all_tasks()
        await asyncio.gather(*(self.live() for _ in range(self.chance.randrange(1, 5))))
        await self.pipeline.start()
        while self.pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110
            await asyncio.sleep(0.25)
        report = await self.pipeline.stop()
        self.check(report)
        assert report.pending == 0
        assert not self.pipeline.is_running
        assert self.source.running == 0, "each start of a source has its stop"
        assert not self.transport.is_started
        assert self.pipeline.websocket_manager.get_connection_count() == 0
        await asyncio.sleep(5)
        left = asyncio.all_tasks() - before
        assert not left, f"tasks are left: {left}"
        channel = self.pipeline.store.channel("updates")
        said: dict[str, list[int]] = {}
        for event in channel.events_between(0, self.pipeline.store.head):
            said.setdefault(event.agent_id, []).append(msgspec.json.decode(event.data)["n"])
        assert said == {agent: list(range(count)) for agent, count in self.queued.items()}
        states = {
            agent: msgspec.json.decode(text)["n"]
            for agent, text in self.pipeline.store.states("updates").items()
        }
        assert states == self.newest


async def _run(seed: int) -> None:
    async with asyncio.timeout(3600):
        await Schedule(seed).run()


@pytest.mark.fault(
    "F7",
    "start and stop in any order, nested, at once and cancelled: nothing is lost, doubled or left running",
)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_schedule_of_starts_and_stops_keeps_the_promises(shard: int) -> None:
    for seed in range(shard, COUNT, SHARDS):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            try:
                runner.run(_run(seed))
            except BaseException as error:
                error.add_note(f"the schedule's seed is {seed}")
                raise
