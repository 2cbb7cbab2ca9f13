"""Clocks that jump: the wall clock back and forth, the monotonic one far ahead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_update_pipeline import PipelineConfig, UpdatePipeline, UpdatePriority
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import (
    FaultyTransport,
    LoopClock,
    RecordingSocket,
    VirtualTimeLoop,
    in_virtual_time,
)

HOUR = 3600.0


class Jumping(LoopClock):
    """The loop's time, and a wall clock that an administrator sets."""

    wall_offset = 0.0

    def time(self) -> float:
        return super().time() + self.wall_offset


def make(**config: Any) -> tuple[UpdatePipeline, FaultyTransport, Jumping]:
    made = config_from_mapping(config, PipelineConfig)
    clock, transport = Jumping(), FaultyTransport()
    parts = default_parts(made, clock)
    parts.transport = transport
    return UpdatePipeline(made, parts=parts, clock=clock), transport, clock


async def settled(pipeline: UpdatePipeline) -> None:
    async with asyncio.timeout(2 * HOUR):
        while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.fault(
    "F39", "the wall clock jumps an hour either way: order and newest state hold, no timer waits for it"
)
@pytest.mark.parametrize("jump", [HOUR, -HOUR, -0.5])
@in_virtual_time
async def test_a_jump_of_the_wall_clock_changes_neither_order_nor_waits(jump: float) -> None:
    pipeline, transport, clock = make(circuit_breaker={"failure_threshold": 1, "recovery_timeout": 5.0})
    socket = RecordingSocket()
    loop = asyncio.get_running_loop()
    async with pipeline:
        await pipeline.register_websocket("one", socket)
        for n in range(20):
            pipeline.queue_agent_update("agent", data={"n": n}, priority=UpdatePriority(n % 4))
            pipeline.queue_agent_update("agent", "said", {"n": n}, UpdatePriority((n + 1) % 4))
            clock.wall_offset += jump if n % 2 == 0 else -jump / 2
            await asyncio.sleep(0.003)
        await settled(pipeline)
        await socket.until(lambda: len(socket.events) == 20)
        assert [event["data"]["n"] for event in socket.events] == list(range(20))
        assert socket.states["agent"] == {"n": 19}
        late = RecordingSocket()
        await pipeline.register_websocket("late", late)
        await late.until(lambda: late.states.get("agent") == {"n": 19})
        # The breaker's open time is monotonic: it neither ends early nor hangs for an hour.
        transport.fail(1)
        began = loop.time()
        pipeline.queue_agent_update("agent", data={"n": 20})
        await asyncio.sleep(0.1)
        clock.wall_offset += jump
        await settled(pipeline)
        assert 5.0 <= loop.time() - began < 6.0
        latency = pipeline.get_performance_metrics()["p99_latency_ms"]
        assert 0 <= latency < 10_000, "latencies are measured by the monotonic clock"


@pytest.mark.fault(
    "F40", "after a suspend of hours one tick catches up: no storm of timers, nothing lost, nothing early"
)
@in_virtual_time
async def test_a_jump_of_the_monotonic_clock_is_caught_up_in_one_go() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    pipeline, transport, _ = make(
        batching={"batch_timeout_ms": 50, "max_batch_size": 50},
        circuit_breaker={"failure_threshold": 1, "recovery_timeout": 30.0},
    )
    socket = RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("one", socket)
        for n in range(30):
            pipeline.queue_agent_update(f"agent_{n % 10}", data={"n": n})
            pipeline.queue_agent_update("agent", "said", {"n": n})
            if n == 10:
                transport.fail(1)  # the breaker opens; what follows waits for it
            await asyncio.sleep(0.01)
        assert pipeline.circuit_breaker.state.value == "open"
        attempts = len(transport.attempts)
        loop._jumping.now += 8 * HOUR
        began = loop.time()
        await settled(pipeline)
        await socket.until(lambda: len(socket.events) == 30)
        assert loop.time() - began < 2.0
        assert len(transport.attempts) - attempts <= 5, "what waited goes in one batch, or a few"
        assert [event["data"]["n"] for event in socket.events] == list(range(30))
        assert {agent: state["n"] for agent, state in socket.states.items()} == {
            f"agent_{n}": 20 + n for n in range(10)
        }
        assert pipeline.circuit_breaker.state.value == "closed"
