"""Whole pipelines under random storms: what fails, hangs, stops and starts loses, doubles and reorders nothing.

Each seed is one history in virtual time. What these found is also told as a story of its own below them.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from typing import Any

import pytest

from django_update_pipeline import UNSET, PipelineConfig, UpdatePipeline, UpdatePriority
from django_update_pipeline.core.config import CircuitBreakerConfig, RetryConfig, StoreConfig
from django_update_pipeline.core.messages import UpdateKind
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import (
    FaultyTransport,
    LoopClock,
    RecordingSocket,
    in_virtual_time,
)

PRIORITIES = list(UpdatePriority)


class Moody:
    """A transformer that sometimes fails, and sometimes takes its time."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def transform(self, agent_id: str, update_type: str, data: Any) -> Any:
        mood = self.dice.random()
        if mood < 0.02:
            raise ValueError("a bad day")
        return self._later(data) if mood < 0.1 else data

    async def _later(self, data: Any) -> Any:
        await asyncio.sleep(self.dice.choice([0.0, 0.001, 0.02, 0.3]))
        return data


class Client(RecordingSocket):
    def told(self, agent: str) -> list[int]:
        return [event["data"]["n"] for event in self.events if event["agent_id"] == agent]


class Storm:
    """One history. Everything random comes from the seed."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        config = PipelineConfig(
            retry=RetryConfig(max_retries=dice.choice([0, 3, 8])),
            circuit_breaker=CircuitBreakerConfig(
                recovery_timeout=0.5, failure_threshold=dice.choice([1, 3, 5])
            ),
            store=StoreConfig(max_tombstones=dice.choice([2, 10_000])),
        )
        clock, self.transport = LoopClock(), FaultyTransport()
        parts = default_parts(config, clock)
        parts.transport = self.transport
        if dice.random() < 0.6:
            parts.transformers = [Moody(dice)]
        self.pipeline = UpdatePipeline(config, parts=parts, clock=clock)
        self.agents = [f"agent_{number}" for number in range(dice.choice([1, 2, 5]))]
        self.sockets: list[Client] = []
        self.number = 0

    def queue(self) -> None:
        pipeline, dice = self.pipeline, self.dice
        self.number = number = self.number + 1
        agent, priority, kind = dice.choice(self.agents), dice.choice(PRIORITIES), dice.random()
        channels = dice.choice([("x",), ("x", "updates")]) if dice.random() < 0.15 else None
        if kind < 0.4:
            pipeline.queue_agent_update(agent, data={"n": number}, priority=priority, channels=channels)
        elif kind < 0.5:
            patch: dict[str, Any] = {"n": number, "mood": dice.choice([1, UNSET])}
            pipeline.queue_agent_update(agent, "state_patch", patch, priority, channels)
        elif kind < 0.55:
            pipeline.queue_agent_update(agent, "state_removed", {}, priority, channels)
        elif kind < 0.62:
            pipeline.queue_agent_changed(agent, lambda _: {"n": number}, priority, channels=channels)
        else:
            pipeline.queue_agent_update(agent, "said", {"n": number}, priority)

    def trouble_the_transport(self) -> None:
        transport, dice = self.transport, self.dice
        agent = dice.choice(self.agents)
        dice.choice(
            [
                lambda: transport.fail(dice.randint(1, 6)),
                transport.begin_outage,
                transport.end_outage,
                transport.end_outage,
                lambda: transport.lose_answers(dice.randint(1, 3)),
                lambda: transport.poison(lambda c: c.agent_id == agent and c.kind is UpdateKind.EVENT),
                lambda: transport.poison(lambda c: False),
                transport.hang,
                transport.go_on,
            ]
        )()

    async def stop_or_start(self) -> None:
        try:
            async with asyncio.timeout(self.dice.choice([0.0, 0.001, 0.05, 1.0])):
                if self.dice.random() < 0.5:
                    await self.pipeline.stop(self.dice.choice([0.0, 0.01, 1.0]))
                else:
                    await self.pipeline.start()
        except TimeoutError:
            pass

    async def disturb_a_client(self) -> None:
        if self.dice.random() < 0.5:
            socket = Client()
            self.sockets.append(socket)
            await self.pipeline.register_websocket(f"socket_{len(self.sockets)}", socket)
        elif self.sockets:
            socket = self.dice.choice(self.sockets)
            self.dice.choice([socket.block, socket.unblock])()

    async def blow(self) -> None:
        dice = self.dice
        for _ in range(dice.randint(10, 80)):
            what = dice.random()
            if what < 0.5:
                for _ in range(dice.randint(1, 4)):
                    self.queue()
            elif what < 0.82:
                self.trouble_the_transport()
            elif what < 0.83:
                self.pipeline.batch_processor.pending_updates[dice.choice(PRIORITIES)].clear()
            elif what < 0.92:
                await self.stop_or_start()
            else:
                await self.disturb_a_client()
            if dice.random() < 0.5:
                await asyncio.sleep(dice.choice([0.0, 0.0, 0.0005, 0.003, 0.05, 0.7]))
            self.law_q5_account()

    async def calm_down(self) -> None:
        transport = self.transport
        transport.end_outage()
        transport.fail(0)
        transport.lose_answers(0)
        transport.poison(lambda c: False)
        transport.go_on()
        for socket in self.sockets:
            socket.unblock()
        await self.pipeline.start()
        async with asyncio.timeout(300):
            while self.pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def law_q5_account(self) -> None:
        account = self.pipeline.get_performance_metrics()["conservation"]["total"]
        waiting = sum(self.pipeline.batch_processor.get_pending_count().values())
        assert account["pending"] == waiting + len(self.pipeline._delivery.in_flight), account

    def told(self, agent: str) -> list[int]:
        events = self.pipeline.store.channel("updates").events_between(0, self.pipeline.store.head)
        return [json.loads(event.data)["n"] for event in events if event.agent_id == agent]


@pytest.mark.parametrize("seed", range(80))
def test_after_a_storm_each_event_was_told_once_and_in_order_and_all_is_accounted_for(seed: int) -> None:
    @in_virtual_time
    async def history() -> None:
        storm = Storm(seed)
        pipeline = storm.pipeline
        await storm.blow()
        await storm.calm_down()
        storm.law_q5_account()
        for agent in storm.agents:
            numbers = storm.told(agent)
            assert numbers == sorted(set(numbers)), agent
        await asyncio.sleep(1)
        assert pipeline.websocket_manager.behind_count() == 0
        states = {agent: json.loads(text) for agent, text in pipeline.store.states("updates").items()}
        for socket in storm.sockets:
            if socket.is_closed:
                continue  # it knows that it shows old states
            assert socket.states == states
            for agent in storm.agents:
                told, all_of_it = socket.told(agent), storm.told(agent)
                assert told == all_of_it[len(all_of_it) - len(told) :], (
                    "from its first event on, none is missing"
                )
        assert not pipeline._queue.chains
        assert not pipeline._delivery.settling.frozen
        assert (await pipeline.stop()).pending == 0
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    history()


class Scripted:
    """A transformer that does with each number what it is told: raises, or answers after so many seconds."""

    def __init__(self, script: dict[int, Any]) -> None:
        self.script = script

    def transform(self, agent_id: str, update_type: str, data: Any) -> Any:
        what = self.script.pop(data["n"], None)
        if isinstance(what, Exception):
            raise what
        return data if what is None else self._after(what, data)

    async def _after(self, seconds: float, data: Any) -> Any:
        await asyncio.sleep(seconds)
        return data


def scripted(script: dict[int, Any]) -> tuple[UpdatePipeline, FaultyTransport]:
    config, clock, transport = PipelineConfig(), LoopClock(), FaultyTransport()
    parts = default_parts(config, clock)
    parts.transport = transport
    parts.transformers = [Scripted(script)]
    return UpdatePipeline(config, parts=parts, clock=clock), transport


def numbers(transport: FaultyTransport) -> list[int]:
    by_id: dict[tuple[str, int], list[int]] = defaultdict(list)
    for publication in transport.published:
        by_id[publication.id, publication.part] = [json.loads(c.content)["n"] for c in publication.changes]
    return [number for told in by_id.values() for number in told]


@in_virtual_time
async def test_an_update_left_behind_after_one_that_failed_is_not_told_twice() -> None:
    """It went back with its batch, and once more when its slow transformer answered."""
    pipeline, transport = scripted({1: ValueError("a bad day"), 2: 0.3})
    for number in (1, 2, 3):
        pipeline.queue_agent_update("agent_001", "said", {"n": number})
    async with pipeline:
        await asyncio.sleep(3)
        assert numbers(transport) == [1, 2, 3]
        assert pipeline.get_performance_metrics()["pending"] == 0


@in_virtual_time
async def test_an_update_left_behind_that_is_back_before_its_batch_is_out_waits_for_it() -> None:
    """Its agent was let go of, and later events of it overtook those that were held back because of it."""
    pipeline, transport = scripted({2: 0.05})
    transport.begin_outage()
    for number in (1, 2, 3, 4):
        pipeline.queue_agent_update("agent_001", "said", {"n": number})
    async with pipeline:
        await asyncio.sleep(0.3)
        pipeline.queue_agent_update("agent_001", "said", {"n": 5})
        await asyncio.sleep(2)
        transport.end_outage()
        await asyncio.sleep(60)
        assert numbers(transport) == [1, 2, 3, 4, 5]
