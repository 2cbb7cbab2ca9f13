"""Promise 7: failure is contained. Outages, poison, plugins that raise, hang or return rubbish, dead letters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from django_update_pipeline import CircuitState, PipelineFull, UpdatePipeline, UpdatePriority
from django_update_pipeline.core.batching import AdaptiveBatching
from django_update_pipeline.exceptions import UpdateNotDelivered, UpdatePipelineError
from django_update_pipeline.testing import FaultyTransport, RecordingSocket, in_virtual_time

from .conftest import MakePipeline, account, settled


def of(agent_id: str) -> Callable[[Any], bool]:
    return lambda change: change.agent_id == agent_id


def delivered(transport: FaultyTransport, update_type: str = "said") -> list[tuple[str, Any]]:
    return [
        (change.agent_id, msgspec.json.decode(change.content))
        for change in transport.changes()
        if change.update_type == update_type
    ]


def events(pipeline: UpdatePipeline, channel: str = "updates") -> list[tuple[str, Any]]:
    """What really is in the store: what every client gets."""
    kept = pipeline.store.channel(channel).events_between(0, pipeline.store.head)
    return [(one.agent_id, msgspec.json.decode(one.data)) for one in kept]


async def until(condition: Callable[[], Any], timeout_s: float = 600.0) -> None:
    """On a virtual loop a timeout of minutes costs nothing."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.01)


# the breaker


@in_virtual_time
async def test_an_outage_opens_the_breaker_after_five_failures_and_loses_nothing(
    make_pipeline: MakePipeline,
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.begin_outage()
    async with pipeline:
        pipeline.queue_agent_update("a", "state_change", {"n": 0})
        pipeline.queue_agent_update("a", "said", {"n": 0})
        await until(lambda: pipeline.circuit_breaker.state is CircuitState.OPEN)
        assert transport.failed == 5
        opened_at = asyncio.get_running_loop().time()
        for n in range(1, 100):
            pipeline.queue_agent_update("a", "state_change", {"n": n})
        await asyncio.sleep(29)
        assert transport.failed == 5, "open lets nothing through"
        transport.end_outage()
        total = await settled(pipeline, 120)
        assert asyncio.get_running_loop().time() - opened_at == pytest.approx(30, abs=1.5)
        assert total["dead_lettered"] == 0
        assert total["conflated"] >= 98, "state conflates while it waits"
        assert pipeline.store.states("updates")["a"] == b'{"n":99}'
        assert events(pipeline) == [("a", {"n": 0})]
        assert all(u.retry_count == 0 for u in pipeline._delivery.in_flight)


@in_virtual_time
async def test_a_reset_by_assignment_takes_effect_at_once(make_pipeline: MakePipeline) -> None:
    """The founding reset, word by word."""
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.begin_outage()
    async with pipeline:
        pipeline.queue_agent_update("a", "state_change", {"n": 1})
        await until(lambda: pipeline.circuit_breaker.state is CircuitState.OPEN)
        transport.end_outage()
        before = asyncio.get_running_loop().time()
        pipeline.circuit_breaker.metrics.state = CircuitState.CLOSED
        pipeline.circuit_breaker.metrics.failure_count = 0
        await until(lambda: account(pipeline)["pending"] == 0)
        assert asyncio.get_running_loop().time() - before < 0.1


async def test_a_reset_from_another_thread_takes_effect_at_once(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport)
    transport.begin_outage()
    async with pipeline:
        pipeline.circuit_breaker.metrics.state = CircuitState.OPEN
        pipeline.queue_agent_update("a", "state_change", {"n": 1})
        await asyncio.sleep(0)
        transport.end_outage()
        await asyncio.to_thread(pipeline.reset_circuit_breaker)
        await settled(pipeline, 0.4)


@in_virtual_time
async def test_half_open_closes_after_three_trials(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", batching={"max_batch_size": 1, "batch_timeout_ms": 0})
    states: list[tuple[CircuitState, int]] = []
    pipeline.circuit_breaker.metrics.state = CircuitState.OPEN
    async with pipeline:
        for n in range(5):
            pipeline.queue_agent_update(f"agent_{n}", "said", {"n": n})
        await asyncio.sleep(29.9)
        assert transport.published == []
        publish = transport.publish

        async def watched(publication: Any) -> None:
            states.append((pipeline.circuit_breaker.state, len(transport.published)))
            await publish(publication)

        transport.publish = watched  # type: ignore[method-assign]
        await settled(pipeline)
    assert [state for state, _ in states[:4]] == [CircuitState.HALF_OPEN] * 3 + [CircuitState.CLOSED]


@in_virtual_time
async def test_with_the_breaker_open_the_oldest_events_make_room(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(clock="loop", queue={"max_events": 3})
    pipeline.circuit_breaker.force_open("test")
    for n in range(5):
        pipeline.queue_agent_update("a", "said", {"n": n})
    assert [letter.payload for letter in pipeline.dead_letters.list()] == [b'{"n":0}', b'{"n":1}']
    account(pipeline)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), OSError(), asyncio.CancelledError(), TimeoutError(), ValueError()]
)
@in_virtual_time
async def test_whatever_a_transport_raises_is_an_outage(
    make_pipeline: MakePipeline, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A CancelledError too: something inside the transport was cancelled, not the pipeline."""
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.fail(2, error)  # type: ignore[arg-type]
    async with pipeline:
        pipeline.queue_agent_update("a", "said", {"n": 1})
        await settled(pipeline)
        assert pipeline.is_running
    assert "transport faulty of plugin" in caplog.text, "named"
    assert type(error).__name__ in caplog.text
    assert events(pipeline) == [("a", {"n": 1})]


@in_virtual_time
async def test_a_transport_that_hangs_meets_its_timeout(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", transport_timeout_s=2.0)
    transport.hang()
    async with pipeline:
        pipeline.queue_agent_update("a", "said", {"n": 1})
        await asyncio.sleep(2.01)
        assert pipeline.circuit_breaker.failure_count == 1
        transport.go_on()
        await settled(pipeline)
    assert events(pipeline) == [("a", {"n": 1})]


# events arrive once


@in_virtual_time
async def test_a_lost_answer_makes_no_event_arrive_twice(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.lose_answers(4)
    async with pipeline:
        for n in range(5):
            pipeline.queue_agent_update(f"agent_{n}", "said", {"n": n})
        await settled(pipeline)
        assert sorted(events(pipeline)) == [(f"agent_{n}", {"n": n}) for n in range(5)]


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_a_transport_that_loses_every_other_answer_delivers_each_event_once(
    make_pipeline: MakePipeline, seed: int
) -> None:
    """What failed alone while others passed is tried again under its own id: the transport may have taken it."""
    import random

    chance = random.Random(seed)
    transport = FaultyTransport()
    pipeline = make_pipeline(
        transport, clock="loop", retry={"max_retries": 50}, circuit_breaker={"recovery_timeout": 0.5}
    )
    publish = transport.publish

    async def flaky(publication: Any) -> None:
        fate = chance.random()
        if fate < 0.2:
            raise ConnectionError("before")
        await publish(publication)
        if fate > 0.75:
            raise ConnectionError("after")

    transport.publish = flaky  # type: ignore[method-assign]
    queued: dict[str, list[int]] = {}
    async with pipeline:
        for n in range(120):
            agent = f"agent_{chance.randrange(6)}"
            queued.setdefault(agent, []).append(n)
            pipeline.queue_agent_update(agent, "said", {"n": n}, UpdatePriority(chance.randrange(4)))
            pipeline.queue_agent_update(agent, "state_change", {"n": n})
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random())
        await settled(pipeline, 100_000)
        arrived: dict[str, list[int]] = {}
        for agent, data in events(pipeline):
            arrived.setdefault(agent, []).append(data["n"])
        assert arrived == queued, "once each, in order"
        states = pipeline.store.states("updates")
        assert {a: msgspec.json.decode(s)["n"] for a, s in states.items()} == {
            a: ns[-1] for a, ns in queued.items()
        }


@pytest.mark.parametrize("seed", range(20))
@in_virtual_time
async def test_a_state_whose_answer_was_lost_is_not_applied_once_more_after_a_newer_one(
    make_pipeline: MakePipeline, seed: int
) -> None:
    """States of one agent for several sets of channels: an older one that was tried again went over the newer one."""
    import random

    chance = random.Random(seed)
    transport = FaultyTransport()
    pipeline = make_pipeline(
        transport, clock="loop", retry={"max_retries": 50}, circuit_breaker={"recovery_timeout": 0.5}
    )
    publish = transport.publish
    shown: dict[str, int] = {}
    newest: dict[tuple[str, str], int] = {}
    went_back: list[tuple[str, int, int]] = []

    async def flaky(publication: Any) -> None:
        fate = chance.random()
        if fate < 0.2:
            raise ConnectionError("before")
        try:
            await publish(publication)
        finally:
            for agent, text in pipeline.store.states("a").items():
                n = msgspec.json.decode(text)["n"]
                if n < shown.get(agent, 0):
                    went_back.append((agent, n, shown[agent]))
                shown[agent] = n
        if fate > 0.6:
            raise ConnectionError("after")

    transport.publish = flaky  # type: ignore[method-assign]
    async with pipeline:
        for n in range(150):
            channels = chance.choice((("a",), ("a", "b"), ("b",)))
            agent, update_type = (
                f"agent_{chance.randrange(3)}",
                chance.choice(("state_change", "state_patch")),
            )
            pipeline.queue_agent_update(agent, update_type, {"n": n}, channels=channels)
            newest |= {(channel, agent): n for channel in channels}
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random())
        await settled(pipeline, 100_000)
        assert went_back == []
        for (channel, agent), n in newest.items():
            assert msgspec.json.decode(pipeline.store.states(channel)[agent]) == {"n": n}, (
                "what was composed is new"
            )
        assert not pipeline._delivery.settling.frozen


# poison


@pytest.mark.parametrize("company", ["together", "before", "after"])
@in_virtual_time
async def test_one_poison_update_stops_nobody_and_dies_of_its_own_retries(
    make_pipeline: MakePipeline, company: str
) -> None:
    """The transport raises for any publication with it, as if it were down; also where it is all alone at first."""
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.poison(of("bad"))
    async with pipeline:
        loop = asyncio.get_running_loop()

        def queue_good() -> None:
            for n in range(10):
                pipeline.queue_agent_update(f"good_{n}", "said", {"n": n})

        if company == "before":
            queue_good()
            await settled(pipeline)
        pipeline.queue_agent_update("bad", "said", {"n": 0})
        pipeline.queue_agent_update("bad", "said", {"n": 1})
        if company == "together":
            queue_good()
        if company == "after":
            await asyncio.sleep(20)  # it has opened the breaker meanwhile, being all there is
            queue_good()
        began = loop.time()
        await until(lambda: len(transport.changes()) >= 10)
        assert loop.time() - began < (1 if company != "after" else 31)
        await settled(pipeline, 600)
        letters = pipeline.dead_letters.list()
        assert [(one.agent_id, one.payload) for one in letters] == [("bad", b'{"n":0}'), ("bad", b'{"n":1}')]
        assert all("scripted poison" in one.cause for one in letters)
        assert pipeline.circuit_breaker.state is CircuitState.CLOSED
        began = loop.time()
        pipeline.queue_agent_update("good_0", "said", {"n": 11})
        await until(lambda: account(pipeline)["pending"] == 0)
        assert loop.time() - began < 0.1
    arrived = [(agent, data["n"]) for agent, data in events(pipeline)]
    assert sorted(arrived) == sorted([(f"good_{n}", n) for n in range(10)] + [("good_0", 11)])


@in_virtual_time
async def test_what_an_agent_queued_behind_its_poison_arrives_after_it_died(
    make_pipeline: MakePipeline,
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.poison(lambda change: change.content == b'{"n":1}')
    async with pipeline:
        for n in range(4):
            pipeline.queue_agent_update("a", "said", {"n": n})
            pipeline.queue_agent_update("b", "said", {"n": n + 10})
        await settled(pipeline, 600)
    assert [data["n"] for agent, data in events(pipeline) if agent == "a"] == [0, 2, 3]
    assert [data["n"] for agent, data in events(pipeline) if agent == "b"] == [10, 11, 12, 13]


@in_virtual_time
async def test_a_rejected_update_spends_its_retries_and_the_others_pass_at_once(
    make_pipeline: MakePipeline,
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", retry={"max_retries": 2})
    transport.reject(of("bad"), "too large")
    async with pipeline:
        pipeline.queue_agent_update("bad", "said", {"n": 0})
        pipeline.queue_agent_update("good", "said", {"n": 1})
        await settled(pipeline)
        (letter,) = pipeline.dead_letters.list()
        assert (letter.agent_id, letter.reason, letter.cause) == ("bad", "rejected", "too large")
        tried = [p for p in transport.attempts if any(c.agent_id == "bad" for c in p.changes)]
        assert len(tried) == 3
        assert len({p.id for p in tried}) == 3, (
            "a rejected change was not applied, so it needs an id of its own"
        )
        assert pipeline.circuit_breaker.state is CircuitState.CLOSED
    assert events(pipeline) == [("good", {"n": 1})]


@in_virtual_time
async def test_a_rejection_that_ends_is_delivered(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", retry_s=1.0)
    transport.reject(of("a"))
    async with pipeline:
        pipeline.queue_agent_update("a", "said", {"n": 0})
        await asyncio.sleep(0.5)
        transport.reject(lambda change: False)
        await settled(pipeline)
    assert events(pipeline) == [("a", {"n": 0})]


@in_virtual_time
async def test_an_outage_that_begins_while_parts_are_tried_costs_nobody_a_retry(
    make_pipeline: MakePipeline,
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    async with pipeline:
        pipeline.queue_agent_update("first", "said", {})
        await settled(pipeline)
        transport.fail(3)  # the whole three times, then parts: two pass, and it is down
        inner = transport.inner.publish
        passed = 0

        async def goes_down(publication: Any) -> None:
            nonlocal passed
            if publication.part >= 0 and passed == 2:
                transport.begin_outage()
                raise ConnectionError("down")
            passed += publication.part >= 0
            await inner(publication)

        transport.inner.publish = goes_down  # type: ignore[method-assign]
        for n in range(6):
            pipeline.queue_agent_update(f"agent_{n}", "said", {"n": n})
        await until(lambda: transport._outage)
        await asyncio.sleep(1)
        waiting = [u for chain in pipeline._queue.chains.values() for u in chain.updates]
        assert all(u.retry_count == 0 for u in [*waiting, *pipeline._delivery.in_flight])
        transport.inner.publish = inner  # type: ignore[method-assign]
        transport.end_outage()
        await settled(pipeline, 600)
    assert sorted(events(pipeline))[:6] == [(f"agent_{n}", {"n": n}) for n in range(6)]


# transformers and loads


class Transform:
    """A transformer made of a function."""

    name = "transform"

    def __init__(self, function: Callable[[str, dict[str, Any]], Any]) -> None:
        self.function = function

    def transform(self, agent_id: str, update_type: str, data: dict[str, Any]) -> Any:
        return self.function(agent_id, data)


def fails(error: BaseException) -> Callable[[str, dict[str, Any]], Any]:
    def function(agent_id: str, data: dict[str, Any]) -> Any:
        if agent_id == "bad":
            raise error
        return data

    return function


@pytest.mark.parametrize(
    "error",
    [ValueError("broken"), SystemExit(1), asyncio.CancelledError(), GeneratorExit(), RecursionError()],
)
@in_virtual_time
async def test_a_transformer_that_raises_costs_only_that_update(
    make_pipeline: MakePipeline, error: BaseException
) -> None:
    """F13, BaseException included."""
    pipeline = make_pipeline(clock="loop", transformers=[Transform(fails(error))])
    async with pipeline:
        pipeline.queue_agent_update("bad", "said", {"n": 0})
        pipeline.queue_agent_update("good", "said", {"n": 1})
        await until(lambda: account(pipeline)["delivered"] == 1, 0.2)
        await settled(pipeline)
        assert pipeline.is_running
        (letter,) = pipeline.dead_letters.list()
        assert (letter.agent_id, letter.reason) == ("bad", "part_failed")
        assert type(error).__name__ in letter.cause
    assert events(pipeline) == [("good", {"n": 1})]


@pytest.mark.parametrize("rubbish", ["text", 7, [1], {"a": float("nan")}, {"a": object()}, object(), True])
@in_virtual_time
async def test_a_transformer_that_returns_rubbish_costs_only_that_update(
    make_pipeline: MakePipeline, rubbish: Any
) -> None:
    pipeline = make_pipeline(
        clock="loop",
        transformers=[Transform(lambda a, d: rubbish if a == "bad" else d), Transform(lambda a, d: d)],
    )
    async with pipeline:
        pipeline.queue_agent_update("bad", "said", {"n": 0})
        pipeline.queue_agent_update("good", "said", {"n": 1})
        total = await settled(pipeline)
    assert (total["delivered"], total["dead_lettered"]) == (1, 1)
    assert events(pipeline) == [("good", {"n": 1})]


@in_virtual_time
async def test_what_a_transformer_swallows_is_cleared_and_its_publish_is_told(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline(clock="loop", transformers=[Transform(lambda a, d: None)])
    async with pipeline:
        with pytest.raises(UpdateNotDelivered, match="a transformer or source") as caught:
            await pipeline.publish("a", "said", {"n": 0})
        assert caught.value.outcome == "cleared"
        assert account(pipeline)["cleared"] == 1


@in_virtual_time
async def test_a_transformer_may_change_its_copy_and_nothing_else(make_pipeline: MakePipeline) -> None:
    def change(agent_id: str, data: dict[str, Any]) -> dict[str, Any]:
        data["nested"]["n"] = 99
        data["agent"] = agent_id
        return data

    pipeline = make_pipeline(clock="loop", transformers=[Transform(change)])
    original = {"nested": {"n": 1}}
    async with pipeline:
        await pipeline.publish("a", "state_change", original)
    assert original == {"nested": {"n": 1}}
    assert pipeline.store.states("updates") == {"a": b'{"nested":{"n":99},"agent":"a"}'}


@in_virtual_time
async def test_an_asynchronous_transformer_that_hangs_holds_up_its_own_agent_only(
    make_pipeline: MakePipeline,
) -> None:
    """F14: the others' latency is as if it were not there."""

    async def slow(agent_id: str, data: dict[str, Any]) -> dict[str, Any]:
        if agent_id == "bad":
            await asyncio.Event().wait()
        return data

    pipeline = make_pipeline(
        clock="loop",
        transformers=[Transform(slow)],
        connections={"hook_timeout_s": 3.0},
        retry={"max_retries": 1},
    )
    async with pipeline:
        loop = asyncio.get_running_loop()
        for n in range(3):
            pipeline.queue_agent_update("bad", "said", {"n": n})
        worst = 0.0
        for n in range(200):
            began = loop.time()
            await pipeline.publish(f"good_{n % 5}", "said", {"n": n}, UpdatePriority.CRITICAL)
            worst = max(worst, loop.time() - began)
            account(pipeline)
        assert worst < 0.05
        await settled(pipeline, 600)
        assert [one.agent_id for one in pipeline.dead_letters.list()] == ["bad"] * 3
        assert "hook_timeout_s = 3" in pipeline.dead_letters.list()[0].cause
    assert [data["n"] for _, data in events(pipeline)] == list(range(200))


@in_virtual_time
async def test_a_slow_transformer_delays_an_agent_without_disorder(make_pipeline: MakePipeline) -> None:
    async def slow(agent_id: str, data: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.5 if agent_id == "slow" else 0)
        return {**data, "made": True}

    pipeline = make_pipeline(clock="loop", transformers=[Transform(slow)])
    async with pipeline:
        for n in range(5):
            pipeline.queue_agent_update("slow", "state_change", {"n": n})
            pipeline.queue_agent_update("slow", "said", {"n": n})
            pipeline.queue_agent_update("quick", "said", {"n": n})
        await asyncio.sleep(0.6)
        pipeline.queue_agent_update("slow", "state_change", {"n": 100})
        await settled(pipeline, 600)
        assert [d["n"] for a, d in events(pipeline) if a == "slow"] == list(range(5))
        assert [d["n"] for a, d in events(pipeline) if a == "quick"] == list(range(5))
        assert msgspec.json.decode(pipeline.store.states("updates")["slow"]) == {"n": 100, "made": True}
        assert not pipeline._delivery.maker.left_behind


@in_virtual_time
async def test_stop_while_a_transformer_hangs_keeps_the_update_for_the_next_start(
    make_pipeline: MakePipeline,
) -> None:
    going = asyncio.Event()

    async def waits(agent_id: str, data: dict[str, Any]) -> dict[str, Any]:
        await going.wait()
        return data

    pipeline = make_pipeline(
        clock="loop", transformers=[Transform(waits)], connections={"hook_timeout_s": 600.0}
    )
    await pipeline.start()
    pipeline.queue_agent_update("a", "said", {"n": 1})
    pipeline.queue_agent_update("a", "said", {"n": 2})
    await asyncio.sleep(0.1)
    report = await pipeline.stop(timeout_s=1)
    assert (report.pending, report.in_time) == (2, False)
    going.set()
    async with pipeline:
        await settled(pipeline)
    assert events(pipeline) == [("a", {"n": 1}), ("a", {"n": 2})]


@in_virtual_time
async def test_a_lazy_state_is_loaded_once_and_whatever_its_load_does_is_contained(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline(clock="loop", queue={"max_update_bytes": 1000})
    asked: list[str] = []

    def load(agent_id: str) -> Any:
        asked.append(agent_id)
        return {
            "good": {"n": 1},
            "none": None,
            "rubbish": [1],
            "large": {"text": "x" * 2000},
        }[agent_id]

    async def later(agent_id: str) -> Any:
        await asyncio.sleep(1)
        return {"n": 2}

    async with pipeline:
        for _ in range(10):
            pipeline.queue_agent_changed("good", load)
        for agent_id in ("none", "rubbish", "large", "missing"):
            pipeline.queue_agent_changed(agent_id, load)
        pipeline.queue_agent_changed("later", later)  # type: ignore[arg-type]
        total = await settled(pipeline)
    assert asked.count("good") == 1
    assert pipeline.store.states("updates") == {"good": b'{"n":1}', "later": b'{"n":2}'}
    assert total["cleared"] == 1
    reasons = {one.agent_id: one.cause for one in pipeline.dead_letters.list()}
    assert set(reasons) == {"rubbish", "large", "missing"}
    assert "max_update_bytes = 1000" in reasons["large"]


@in_virtual_time
async def test_a_notification_is_no_transformers_business(make_pipeline: MakePipeline) -> None:
    """A field filter would take its level and message away, and leave a frame that no browser can parse."""
    pipeline = make_pipeline(clock="loop", transformers=[Transform(lambda a, d: {})])
    socket = RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("one", socket)
        pipeline.queue_system_notification("Rose ceremony starting")
        await socket.until(lambda: len(socket.notifications) == 1)
    assert socket.notifications[0]["message"] == "Rose ceremony starting"


# other parts


@in_virtual_time
async def test_a_retry_policy_that_fails_loses_no_update(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")

    class Broken:
        def delay_s(self, retry_count: int) -> float:
            if retry_count == 0:
                raise ValueError("broken")
            return float("nan")

    pipeline._delivery.settling.retry = Broken()
    transport.reject(of("bad"))
    async with pipeline:
        pipeline.queue_agent_update("bad", "said", {})
        pipeline.queue_agent_update("good", "said", {})
        total = await settled(pipeline)
    assert (total["delivered"], total["dead_lettered"]) == (1, 1)


class BrokenBatching:
    """Fails at everything, in turn by raising and by rubbish."""

    max_batch_size = 50
    batch_timeout_ms = 20.0

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def _answer(self) -> Any:
        if self.kind == "raises":
            raise RuntimeError("broken")
        return {"nan": float("nan"), "text": "soon", "none": None, "never": float("inf"), "less": -5}[
            self.kind
        ]

    def windows_s(self) -> Any:
        return self._answer()

    def due_at(self, priority: Any, now: float) -> Any:
        return self._answer()

    def limit(self) -> Any:
        return self._answer()

    def flushed(self, classes: Any, now: float) -> Any:
        return self._answer()

    def measured(self, size: int, duration_s: float, is_behind: bool = False) -> Any:
        return self._answer()


@pytest.mark.parametrize("kind", ["raises", "nan", "text", "none", "never", "less"])
@in_virtual_time
async def test_a_batching_policy_that_fails_loses_no_update(make_pipeline: MakePipeline, kind: str) -> None:
    from django_update_pipeline.runtime.parts import default_parts
    from django_update_pipeline.testing import LoopClock

    model = make_pipeline(clock="loop")
    parts = default_parts(model.config, LoopClock())
    parts.batching = BrokenBatching(kind)
    pipeline = UpdatePipeline(model.config, parts=parts, clock=LoopClock())
    pipeline.queue_agent_update("a", "said", {"n": 0})
    async with pipeline:
        for n in range(1, 100):
            pipeline.queue_agent_update("a", "said", {"n": n})
        await settled(pipeline)
    assert [d["n"] for _, d in events(pipeline)] == list(range(100))


def test_the_built_in_policy_pays_for_no_guard(make_pipeline: MakePipeline) -> None:
    assert type(make_pipeline().batch_processor.policy) is AdaptiveBatching


@pytest.mark.parametrize("answer", [RuntimeError("broken"), ["no spaces"], 7, [["a"]], "ok", None, ()])
@in_virtual_time
async def test_a_router_that_fails_ends_that_update_and_not_its_caller(
    make_pipeline: MakePipeline, answer: Any
) -> None:
    class Router:
        def route(self, agent_id: str, update_type: str) -> Any:
            if agent_id != "a":
                return None
            if isinstance(answer, Exception):
                raise answer
            return answer

    pipeline = make_pipeline(clock="loop")
    parts = pipeline.parts
    parts.router = Router()
    pipeline = UpdatePipeline(pipeline.config, parts=parts, clock=pipeline.clock)
    async with pipeline:
        pipeline.queue_agent_update("a", "said", {"n": 0})
        pipeline.queue_agent_update("b", "said", {"n": 1})
        total = await settled(pipeline)
    if answer is None:
        assert total["delivered"] == 2
    elif answer == "ok":
        assert events(pipeline, "ok") == [("a", {"n": 0})]
    elif answer == ():
        assert (total["delivered"], total["cleared"]) == (1, 1)
    else:
        assert (total["delivered"], total["dead_lettered"]) == (1, 1)
        (letter,) = pipeline.dead_letters.list()
        assert letter.reason == "router_failed"


# dead letters


@in_virtual_time
async def test_dead_events_can_be_replayed_and_dead_state_only_seen(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", retry={"max_retries": 0})
    transport.reject(lambda change: True)
    async with pipeline:
        pipeline.queue_agent_update("a", "said", {"n": 0}, UpdatePriority.HIGH, channels=["room"])
        pipeline.queue_agent_update("b", "state_change", {"n": 1})
        await settled(pipeline)
        transport.reject(lambda change: False)
        event, state = sorted(pipeline.dead_letters.list(), key=lambda one: one.agent_id)
        assert not pipeline.replay_dead_letter(state.number)
        assert not pipeline.replay_dead_letter(999)
        assert pipeline.replay_dead_letter(event.number)
        assert not pipeline.replay_dead_letter(event.number), "once"
        await settled(pipeline)
        assert events(pipeline, "room") == [("a", {"n": 0})]
        assert len(pipeline.dead_letters) == 1


def test_a_replay_without_room_is_refused_and_keeps_the_letter(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(queue={"max_events": 1, "overflow": "drop_oldest"})
    pipeline.queue_agent_update("a", "said", {"n": 0})
    pipeline.queue_agent_update("a", "said", {"n": 1})
    (letter,) = pipeline.dead_letters.list()
    strict = make_pipeline(queue={"max_events": 1})
    strict.dead_letters = pipeline.dead_letters
    strict.queue_agent_update("a", "said", {"n": 2})
    with pytest.raises(PipelineFull, match="max_events = 1"):
        strict.replay_dead_letter(letter.number)
    assert len(strict.dead_letters) == 1


@in_virtual_time
async def test_a_flood_of_deaths_floods_no_log(
    make_pipeline: MakePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = make_pipeline(clock="loop", queue={"max_events": 10, "overflow": "drop_oldest"})
    with caplog.at_level(logging.WARNING):
        for n in range(2000):
            pipeline.queue_agent_update("a", "said", {"n": n})
    assert len(pipeline.dead_letters) <= 1000 < 1990 == pipeline.dead_letters.total
    assert len(caplog.records) < 15


# publish


@in_virtual_time
async def test_publish_returns_when_the_transport_has_acknowledged(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    async with pipeline:
        transport.hang()
        task = asyncio.create_task(pipeline.publish("a", "said", {"n": 0}))
        await transport.hanging.wait()
        assert not task.done()
        transport.go_on()
        await task
        assert events(pipeline) == [("a", {"n": 0})]


@in_virtual_time
async def test_publish_returns_when_a_newer_state_took_its_place(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(clock="loop")
    pipeline.circuit_breaker.force_open("test")
    async with pipeline:
        pipeline.queue_agent_update("first", "said", {})  # what is out already can't be conflated
        await asyncio.sleep(0.1)
        tasks = [asyncio.create_task(pipeline.publish("a", "state_change", {"n": n})) for n in range(3)]
        await asyncio.sleep(5)
        assert not any(task.done() for task in tasks), "it waits while the breaker is open"
        pipeline.reset_circuit_breaker()
        await asyncio.gather(*tasks)
        assert pipeline.store.states("updates") == {"a": b'{"n":2}'}


@pytest.mark.parametrize("outcome", ["cleared", "dead_lettered"])
@in_virtual_time
async def test_publish_raises_when_its_update_ends_otherwise(
    make_pipeline: MakePipeline, outcome: str
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", retry={"max_retries": 0})
    async with pipeline:
        if outcome == "cleared":
            pipeline.circuit_breaker.force_open("test")
            pipeline.queue_agent_update("first", "said", {})
            await asyncio.sleep(0.1)
        else:
            transport.reject(of("a"), "too large")
        task = asyncio.create_task(pipeline.publish("a", "said", {"n": 0}))
        await asyncio.sleep(0.1)
        if outcome == "cleared":
            pipeline.batch_processor.pending_updates[UpdatePriority.NORMAL].clear()
        with pytest.raises(UpdateNotDelivered) as caught:
            await task
        assert caught.value.outcome == outcome
        pipeline.reset_circuit_breaker()


@in_virtual_time
async def test_a_cancelled_publish_leaves_its_update_to_be_delivered(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.hang()
    async with pipeline:
        task = asyncio.create_task(pipeline.publish("a", "said", {"n": 0}))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        transport.go_on()
        await settled(pipeline)
    assert events(pipeline) == [("a", {"n": 0})]


async def test_publish_needs_a_running_pipeline(make_pipeline: MakePipeline) -> None:
    with pytest.raises(UpdatePipelineError, match=r"await pipeline\.start\(\) first"):
        await make_pipeline().publish("a", "said", {})


@pytest.mark.parametrize(
    "doing",
    [
        lambda pipeline: pipeline.publish("a", "state_change", {"n": 1}, channels=[]),
        lambda pipeline: pipeline.publish("a", "state_change", {"n": 1}, channels=()),
    ],
)
@in_virtual_time
async def test_publish_to_no_channel_is_told(
    make_pipeline: MakePipeline, doing: Callable[[UpdatePipeline], Awaitable[None]]
) -> None:
    pipeline = make_pipeline(clock="loop")
    async with pipeline:
        with pytest.raises(UpdateNotDelivered):
            await doing(pipeline)
