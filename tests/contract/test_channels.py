"""The channels transport keeps the contract on every kind of layer, and heals what a layer loses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer

from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.ports import Transport
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.exceptions import ConfigurationError, TransportUnavailable
from django_update_pipeline.testing import StoreNode
from django_update_pipeline.testing.contract import CHANNEL, NetworkTransportContract, event, state
from django_update_pipeline.transports import channels as module
from django_update_pipeline.transports.channels import ChannelsTransport

HEARTBEAT_S = 0.05


class LossyLayer:
    """A layer that drops what `drops` says, and is down while `is_down`. Everything else is the inner layer's."""

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner or InMemoryChannelLayer()
        self.drops: Callable[[dict[str, Any]], bool] = lambda message: False
        self.is_down = False
        self.dropped = 0
        self.sent = 0

    def _call(self) -> None:
        if self.is_down:
            raise ConnectionError("the layer is down")

    async def new_channel(self, prefix: str = "specific") -> str:
        self._call()
        return str(await self.inner.new_channel(prefix))

    async def group_add(self, group: str, channel: str) -> None:
        self._call()
        await self.inner.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._call()
        await self.inner.group_discard(group, channel)

    async def receive(self, channel: str) -> Any:
        self._call()
        return await self.inner.receive(channel)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self._call()
        self.sent += 1
        if self.drops(message):
            self.dropped += 1
            return
        await self.inner.send(channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._call()
        self.sent += 1
        if self.drops(message):
            self.dropped += 1
            return
        await self.inner.group_send(group, message)


def kind_of(message: dict[str, Any]) -> str:
    return str(json.loads(message["p"])[0])


@pytest.fixture
def layer() -> LossyLayer:
    return LossyLayer()


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - a layer gives no notice that a test could await
            await asyncio.sleep(0.002)


class Nodes:
    """Nodes on one layer, stopped at the end."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.started: list[ChannelsTransport] = []

    async def start(self, node_id: str | None = None) -> tuple[StoreNode, ChannelsTransport]:
        node, transport = StoreNode(node_id), ChannelsTransport(layer=self.layer, heartbeat_s=HEARTBEAT_S)
        await transport.start(node)
        self.started.append(transport)
        return node, transport

    async def stop(self) -> None:
        for transport in self.started:
            await transport.stop()


@pytest.fixture
async def nodes(layer: LossyLayer) -> AsyncIterator[Nodes]:
    nodes = Nodes(layer)
    yield nodes
    await nodes.stop()


class TestInMemoryLayer(NetworkTransportContract):
    @pytest.fixture(autouse=True)
    def _layer(self) -> None:
        self.layer = InMemoryChannelLayer()

    def make_transport(self) -> Transport:
        return ChannelsTransport(layer=self.layer, heartbeat_s=HEARTBEAT_S)


class TestRedisCoreLayer(NetworkTransportContract):
    @pytest.fixture(autouse=True)
    def _layer(self, redis_url: str) -> None:
        core = pytest.importorskip("channels_redis.core", reason="python -m pip install channels-redis")
        self.layer = core.RedisChannelLayer(hosts=[redis_url], prefix=f"test{random.getrandbits(48):x}")

    def make_transport(self) -> Transport:
        return ChannelsTransport(layer=self.layer, heartbeat_s=HEARTBEAT_S)


class TestRedisPubSubLayer(NetworkTransportContract):
    @pytest.fixture(autouse=True)
    def _layer(self, redis_url: str) -> None:
        pubsub = pytest.importorskip("channels_redis.pubsub", reason="python -m pip install channels-redis")
        self.layer = pubsub.RedisPubSubChannelLayer(
            hosts=[redis_url], prefix=f"test{random.getrandbits(48):x}"
        )

    def make_transport(self) -> Transport:
        return ChannelsTransport(layer=self.layer, heartbeat_s=HEARTBEAT_S)


# what a layer loses


async def test_a_lost_message_in_the_middle_is_noticed_and_healed_events_included(
    nodes: Nodes, layer: LossyLayer
) -> None:
    _, sends = await nodes.start()
    other, receives = await nodes.start()
    await sends.publish(Publication("p-0", (event("a", b"0"),)))
    layer.drops = lambda message: kind_of(message) == "publication"
    await sends.publish(Publication("p-1", (event("a", b"1"), state("a", b'{"n":1}'))))
    layer.drops = lambda message: False
    await sends.publish(Publication("p-2", (event("a", b"2"),)))
    await until(lambda: [data for _, data in other.events()] == [0, 1, 2])
    assert other.states() == {"a": {"n": 1}}
    assert receives.holes_seen == 1


async def test_a_lost_last_message_is_noticed_by_the_heartbeat(nodes: Nodes, layer: LossyLayer) -> None:
    _, sends = await nodes.start()
    other, _ = await nodes.start()
    layer.drops = lambda message: kind_of(message) == "publication"
    await sends.publish(Publication("p-1", (state("a", b'{"n":1}'),)))
    layer.drops = lambda message: kind_of(message) == "publication" and layer.dropped < 3
    await until(lambda: other.states() == {"a": {"n": 1}})


async def test_random_losses_never_leave_two_nodes_apart(nodes: Nodes, layer: LossyLayer) -> None:
    chance = random.Random(7)
    one, first = await nodes.start("one")
    two, second = await nodes.start("two")
    layer.drops = lambda message: chance.random() < 0.4
    for n in range(200):
        await first.publish(Publication(f"p-{n}", (state(f"a{n % 5}", b'{"n":%d}' % n, 100.0 + n),)))
        await second.publish(Publication(f"p-{n}", (state(f"b{n % 5}", b'{"n":%d}' % n, 100.0 + n),)))
        if n % 20 == 0:
            await asyncio.sleep(0)
    layer.drops = lambda message: False
    expected = {f"a{n % 5}": {"n": n} for n in range(200)} | {f"b{n % 5}": {"n": n} for n in range(200)}
    await until(lambda: one.states() == two.states() == expected)
    assert layer.dropped > 50


async def test_a_hole_wider_than_what_is_kept_is_healed_by_state(nodes: Nodes, layer: LossyLayer) -> None:
    _, sends = await nodes.start()
    other, receives = await nodes.start()
    await sends.publish(Publication("first", (state("gone", b"{}"),)))
    await until(lambda: other.states() == {"gone": {}})
    layer.drops = lambda message: True
    removal = Change(
        UpdateKind.REMOVE, "gone", (CHANNEL,), "state_removed", b"{}", (), 101.0, UpdatePriority.NORMAL
    )
    await sends.publish(Publication("removal", (removal,)))
    for n in range(module.KEPT_PUBLICATIONS + 50):
        await sends.publish(Publication(f"p-{n}", (state(f"a{n}", b'{"n":%d}' % n),)))
    layer.drops = lambda message: False
    expected = {f"a{n}": {"n": n} for n in range(module.KEPT_PUBLICATIONS + 50)}
    await until(lambda: other.states() == expected)
    assert receives.holes_healed >= 1


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_lost_piece_of_the_healing_is_noticed_too(nodes: Nodes, layer: LossyLayer, lost: int) -> None:
    """The answer to a wide hole is several messages; the last one must not hide the loss of another."""
    _, sends = await nodes.start()
    layer.drops = lambda message: True
    count = module.KEPT_PUBLICATIONS + 20
    for n in range(count):
        await sends.publish(Publication(f"p-{n}", (state(f"a{n}", b'{"n":%d}' % n),)))
    pieces = 0

    def one_piece(message: dict[str, Any]) -> bool:
        nonlocal pieces
        if kind_of(message) != "states":
            return False
        pieces += 1
        return pieces == lost + 1

    layer.drops = one_piece
    other, _ = await nodes.start()
    await until(lambda: len(other.states()) == count)
    assert layer.dropped


# outages


async def test_an_outage_raises_and_loses_nothing(nodes: Nodes, layer: LossyLayer) -> None:
    one, sends = await nodes.start()
    other, _ = await nodes.start()
    layer.is_down = True
    publication = Publication("p-1", (event("a", b"1"), state("a", b'{"n":1}')))
    for _ in range(3):
        with pytest.raises(TransportUnavailable, match="the layer is down"):
            await sends.publish(publication)
    layer.is_down = False
    await sends.publish(publication)
    await until(lambda: other.states() == {"a": {"n": 1}})
    assert other.events() == one.events() == [("a", 1)]


async def test_trouble_with_the_layer_is_told_seldom_and_its_end_once(
    nodes: Nodes, layer: LossyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    # Not set_level: inside of another at_level its end would leave the level of that one for all tests to come.
    with caplog.at_level(logging.WARNING, logger=module.__name__):
        _, transport = await nodes.start()
        assert transport.problem is None
        layer.is_down = True
        await until(lambda: transport._complaints.count("trouble") >= 10)
        assert transport.problem == "channel layer 'default': ConnectionError: the layer is down"
        told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert [line.rpartition(" again ")[2] for line in told] == [f"({n} time(s))" for n in (1, 2, 4, 8)]
        caplog.clear()
        layer.is_down = False
        await until(lambda: transport.problem is None)  # its own heartbeat came back
        assert [r.getMessage() for r in caplog.records] == ["channel layer 'default': it is back"]


@pytest.mark.parametrize("down_calls", ["new_channel", "group_add"])
async def test_a_node_that_starts_while_the_layer_is_down_joins_later(
    nodes: Nodes, layer: LossyLayer, monkeypatch: pytest.MonkeyPatch, down_calls: str
) -> None:
    """Also when only joining failed and everything after it works."""
    original = getattr(layer, down_calls)
    failures = 0

    async def fails_once(*args: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise ConnectionError("not yet")
        return await original(*args)

    monkeypatch.setattr(layer, down_calls, fails_once)
    late, _ = await nodes.start()
    _, sends = await nodes.start()
    await sends.publish(Publication("p-1", (state("a", b'{"n":1}'),)))
    await until(lambda: late.states() == {"a": {"n": 1}})


async def test_a_layer_that_forgot_its_members_is_joined_again(nodes: Nodes, layer: LossyLayer) -> None:
    """As Redis does when it is restarted empty: sending works, and reaches nobody."""
    other, _ = await nodes.start()
    _, sends = await nodes.start()
    layer.inner.groups.clear()
    await sends.publish(Publication("p-1", (state("a", b'{"n":1}'),)))
    await until(lambda: other.states() == {"a": {"n": 1}})


async def test_a_layer_that_hangs_does_not_make_a_node_deaf(
    nodes: Nodes, layer: LossyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answering another node's question may hang; what arrives meanwhile is applied."""
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.05)
    node, _ = await nodes.start()
    _, sends = await nodes.start()
    send = layer.send

    hung = asyncio.Event()

    async def hangs(channel: str, message: dict[str, Any]) -> None:
        hung.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(layer, "send", hangs)
    layer.drops = lambda message: True
    await sends.publish(Publication("p-1", (state("a", b'{"n":1}'),)))
    layer.drops = lambda message: False
    await sends.publish(Publication("p-2", (state("b", b'{"n":2}'),)))
    await asyncio.wait_for(hung.wait(), 10)
    monkeypatch.setattr(layer, "send", send)
    await until(lambda: node.states() == {"a": {"n": 1}, "b": {"n": 2}})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["core", "pubsub"])
@pytest.mark.fault(
    "F21",
    "on a Channels layer, a publication that failed is tried again and arrives once Redis is back, though empty",
)
async def test_redis_killed_and_started_empty_loses_nothing(redis_server: Any, kind: str) -> None:
    pytest.importorskip("channels_redis", reason="python -m pip install channels-redis")
    if kind == "core":
        from channels_redis.core import RedisChannelLayer as Layer
    else:
        from channels_redis.pubsub import RedisPubSubChannelLayer as Layer
    nodes = Nodes(Layer(hosts=[redis_server.url]))
    _, sends = await nodes.start()
    other, _ = await nodes.start()
    await sends.publish(Publication("p-1", (event("a", b"1"), state("a", b'{"n":1}'))))
    await until(lambda: other.states() == {"a": {"n": 1}})
    redis_server.kill()
    publication = Publication("p-2", (event("a", b"2"), state("a", b'{"n":2}')))
    with pytest.raises(TransportUnavailable):
        await sends.publish(publication)
    redis_server.start()
    for _ in range(200):
        try:
            await sends.publish(publication)
            break
        except TransportUnavailable:
            await asyncio.sleep(0.02)
    await until(lambda: other.states() == {"a": {"n": 2}})
    assert [data for _, data in other.events()] == [1, 2]
    await nodes.stop()


# origins


async def test_an_origin_that_restarts_is_followed_anew(nodes: Nodes) -> None:
    other, _ = await nodes.start()
    _, before = await nodes.start("old")
    for n in range(5):
        await before.publish(Publication(f"p-{n}", (state("a", b'{"n":%d}' % n, 100.0 + n),)))
    await until(lambda: other.states() == {"a": {"n": 4}})
    await before.stop()
    _, after = await nodes.start("new")
    await after.publish(Publication("p-0", (state("a", b'{"n":10}', 200.0),)))
    await until(lambda: other.states() == {"a": {"n": 10}})


async def test_a_node_that_was_stopped_gets_what_it_missed(nodes: Nodes) -> None:
    _, sends = await nodes.start()
    other, receives = await nodes.start()
    await sends.publish(Publication("p-0", (event("a", b"0"),)))
    await until(lambda: len(other.events()) == 1)
    await receives.stop()
    await sends.publish(Publication("p-1", (event("a", b"1"),)))
    await receives.start(other)
    await until(lambda: [data for _, data in other.events()] == [0, 1])


async def test_of_two_writers_the_newer_state_wins_on_every_node(nodes: Nodes, layer: LossyLayer) -> None:
    one, first = await nodes.start("one")
    two, second = await nodes.start("two")
    three, third = await nodes.start("three")
    layer.drops = lambda message: True  # so that neither has seen the other's when it writes
    await first.publish(Publication("p-0", (state("a", b'{"by":"one"}', 100.0),)))
    await second.publish(Publication("p-0", (state("a", b'{"by":"two"}', 101.0),)))
    layer.drops = lambda message: False
    await until(lambda: one.states() == two.states() == three.states() == {"a": {"by": "two"}})
    await until(lambda: first.conflicts + second.conflicts + third.conflicts >= 1)


async def test_writers_whose_clocks_differ_agree_in_the_end(nodes: Nodes) -> None:
    """A node that has seen a state from a clock ahead of its own still gets its newer one through."""
    one, first = await nodes.start("one")
    two, second = await nodes.start("two")
    await second.publish(Publication("p-0", (state("a", b'{"by":"two"}', 500.0),)))
    await until(lambda: one.states() == {"a": {"by": "two"}})
    await first.publish(Publication("p-0", (state("a", b'{"by":"one"}', 100.0),)))
    await until(lambda: one.states() == two.states() == {"a": {"by": "one"}})


async def test_patches_of_two_writers_agree_in_the_end(nodes: Nodes) -> None:
    """Merges do not commute with what another node wrote, so a foreign one is answered by the whole state."""
    one, first = await nodes.start("one")
    two, second = await nodes.start("two")

    def merge(content: bytes, timestamp: float) -> Change:
        return state("a", content, timestamp, UpdateKind.MERGE)

    await asyncio.gather(
        first.publish(Publication("p-0", (merge(b'{"x":1}', 100.0),))),
        second.publish(Publication("p-0", (merge(b'{"y":1}', 101.0),))),
    )
    await until(lambda: one.states() == two.states() and one.states())
    for _ in range(3):
        await asyncio.sleep(HEARTBEAT_S)  # a node that tells the other its old state does so with a heartbeat
    assert one.states() == two.states()


@pytest.mark.parametrize("seed", range(6))
async def test_random_writers_and_losses_agree_in_the_end(nodes: Nodes, layer: LossyLayer, seed: int) -> None:
    chance = random.Random(seed)
    team = [await nodes.start(name) for name in ("one", "two", "three")]
    layer.drops = lambda message: chance.random() < 0.25
    kinds = (UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE)
    for n in range(60):
        _, transport = chance.choice(team)
        kind = chance.choices(kinds, (5, 5, 1))[0]
        content = b"{}" if kind is UpdateKind.REMOVE else b'{"f%d":%d}' % (chance.randrange(3), n)
        change = state(chance.choice("ab"), content, 100.0 + n + chance.uniform(-3, 3), kind)
        await transport.publish(Publication(f"p-{n}", (change,)))
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
    layer.drops = lambda message: False
    for _, transport in team:  # a last word of each, so that every hole has an end
        await transport.publish(Publication("last", (state(f"z{id(transport)}", b"{}", 1000.0),)))
    stores = [node for node, _ in team]
    await until(
        lambda: len(stores[0].states()) >= 3 and all(n.states() == stores[0].states() for n in stores)
    )


# trash on the layer


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"p": ""},
        {"p": "{}"},
        {"p": "[1,2,3]"},
        {"p": '["publication","x","c",1,null,true]'},
        {"p": b"\x80\x04"},
        {"p": '["want","x","no such channel!!",0]'},
        {"p": '["unknown","x","c",1]'},
    ],
)
@pytest.mark.fault(
    "F49", "foreign messages on a Channels layer are counted and logged, and the next good one is applied"
)
async def test_rubbish_on_the_layer_is_counted_and_harms_nothing(
    nodes: Nodes, layer: LossyLayer, message: dict[str, Any]
) -> None:
    other, _ = await nodes.start()
    _, sends = await nodes.start()
    await layer.inner.group_send(f"{module.DEFAULT_GROUP}.nodes", {"type": module.MESSAGE_TYPE, **message})
    await sends.publish(Publication("p-1", (state("a", b'{"n":1}'),)))
    await until(lambda: other.states() == {"a": {"n": 1}})


async def test_what_a_node_remembers_of_removed_agents_is_bounded(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, transport = await nodes.start()
    monkeypatch.setattr(transport._writers, "_removed_kept", 50)
    for n in range(500):
        await transport.publish(Publication(f"p-{n}", (state(f"a{n}", b"{}"),)))
        removal = Change(
            UpdateKind.REMOVE, f"a{n}", (CHANNEL,), "state_removed", b"{}", (), 100.0, UpdatePriority.NORMAL
        )
        await transport.publish(Publication(f"r-{n}", (removal,)))
    assert node.states() == {}
    assert len(transport._writers) <= 50


async def test_nothing_of_a_node_is_left_after_stop(nodes: Nodes, layer: LossyLayer) -> None:
    before = asyncio.all_tasks()
    _, transport = await nodes.start()
    await transport.publish(Publication("p-1", (state("a", b"{}"),)))
    await transport.stop()
    await transport.stop()
    assert asyncio.all_tasks() == before
    assert not layer.inner.groups.get(f"{module.DEFAULT_GROUP}.nodes")


async def test_a_layer_that_swallows_cancellation_does_not_hold_up_the_stop(
    nodes: Nodes, layer: LossyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """channels_redis does, once in a while."""
    entered = asyncio.Event()

    async def swallows(group: str, message: dict[str, Any]) -> None:
        entered.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    _, transport = await nodes.start()
    monkeypatch.setattr(layer, "group_send", swallows)
    await entered.wait()
    tasks = list(transport._tasks)
    await transport.stop()
    assert all(task.done() for task in tasks)


async def test_a_layer_that_is_not_configured_is_told_by_name(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(ConfigurationError, match="CHANNEL_LAYERS has no 'elsewhere'"):
        await ChannelsTransport("elsewhere").start(StoreNode())


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The outages here are meant; their log lines would only fill the reports."""
    with caplog.at_level("CRITICAL", logger="django_update_pipeline.transports.channels"):
        yield
