"""Whole pipelines on one Channels layer: an outage opens the breaker and loses nothing, losses are healed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer

from django_update_pipeline import CircuitState, UpdatePipeline
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.runtime.clock import SystemClock
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import RecordingSocket
from django_update_pipeline.transports.channels import ChannelsTransport


class Layer(InMemoryChannelLayer):
    """May be down, and may drop."""

    is_down = False
    drops: Callable[[], bool] = staticmethod(lambda: False)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self.is_down:
            raise ConnectionError("the layer is down")
        if not self.drops():
            await super().group_send(group, message)


def node(layer: Layer, **config: Any) -> UpdatePipeline:
    made = config_from_mapping({"circuit_breaker": {"recovery_timeout": 0.1}, **config})
    parts = default_parts(made, SystemClock())
    parts.transport = ChannelsTransport(layer=layer, heartbeat_s=0.05)
    return UpdatePipeline(made, parts=parts)


def states(pipeline: UpdatePipeline) -> dict[str, Any]:
    return {agent_id: json.loads(text) for agent_id, text in pipeline.store.states("updates").items()}


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - a layer gives no notice that a test could await
            await asyncio.sleep(0.002)


async def test_clients_of_both_nodes_end_with_the_same_through_losses_and_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = random.Random(11)
    layer = Layer()
    layer.drops = lambda: chance.random() < 0.2
    expected: dict[str, Any] = {}
    with caplog.at_level("CRITICAL"):
        async with node(layer) as one, node(layer) as two:
            clients = [RecordingSocket() for _ in range(6)]
            for number, client in enumerate(clients):
                await (one, two)[number % 2].register_websocket(f"c{number}", client)
            for n in range(400):
                source, prefix = ((one, "one"), (two, "two"))[n % 2]
                agent = f"{prefix}_{chance.randrange(4)}"
                expected[agent] = {"n": n}
                source.queue_agent_update(agent, "state_change", {"n": n})
                if n == 200:
                    layer.is_down = True
                    await until(lambda: one.circuit_breaker.state is CircuitState.OPEN)
                    await until(lambda: two.circuit_breaker.state is CircuitState.OPEN)
                if n == 250:
                    layer.is_down = False
                if n % 5 == 0:
                    await asyncio.sleep(0)
            layer.drops = lambda: False
            await until(lambda: states(one) == states(two) == expected)
            for client in clients:
                await client.until(lambda client=client: client.states == expected)
            for pipeline in (one, two):
                # Clients may have everything while the layer's last answer is still on its way.
                await until(lambda pipeline=pipeline: not pipeline.get_performance_metrics()["pending"])
                assert pipeline.get_performance_metrics()["dead_lettered"] == 0


async def test_events_reach_the_other_node_once_and_in_order_through_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = Layer()
    with caplog.at_level("CRITICAL"):
        async with node(layer) as one, node(layer) as two:
            here, there = RecordingSocket(), RecordingSocket()
            await one.register_websocket("here", here)
            await two.register_websocket("there", there)
            for n in range(60):
                one.queue_agent_update(f"a{n % 3}", "said", {"n": n})
                if n % 20 == 10:
                    layer.is_down = not layer.is_down
                await asyncio.sleep(0.01)  # attempts and retries of two nodes fall before, into and after it
            layer.is_down = False
            for client in (here, there):
                await client.until(lambda client=client: len(client.events) >= 60)
                for agent in range(3):
                    own = [f["data"]["n"] for f in client.events if f["data"]["n"] % 3 == agent]
                    assert own == list(range(agent, 60, 3))


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ({}, "memory"),
        ({"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}, "memory"),
        ({"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}, "channels"),
        ({"other": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}, "memory"),
    ],
)
async def test_auto_chooses_a_layer_that_crosses_processes(
    pipeline: Any, settings: Any, layers: dict[str, Any], name: str
) -> None:
    settings.CHANNEL_LAYERS = layers
    assert pipeline(TRANSPORT="auto").transport.name == name
