"""A task is cancelled at its k-th await, for every k: nothing is lost, doubled, left running, or answered to another.

`cancelled_at` steps a coroutine and cancels the task it runs in while it waits for the k-th time, so each test goes
through every checkpoint of the code as it is today, however many those are.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import msgspec
import pytest

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.runtime.socket import ClassicSocket, SocketClient
from django_update_pipeline.testing import FaultyTransport, LoopClock, RecordingSocket, VirtualTimeLoop

#: More awaits than any of these has: a bound for a coroutine that never ends.
MOST = 500


class Steps:
    """How often a coroutine has waited, and whether it was cancelled for it."""

    def __init__(self, cancel_at: int) -> None:
        self.cancel_at = cancel_at
        self.count = 0

    @property
    def was_cancelled(self) -> bool:
        return self.count >= self.cancel_at


@types.coroutine
def cancelled_at(coroutine: Coroutine[Any, Any, Any], steps: Steps) -> Generator[Any, Any, Any]:
    """Runs a coroutine; its `steps.cancel_at`-th wait is cancelled, as `task.cancel()` would then."""
    value, error = None, None
    while True:
        try:
            waits_for = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as end:
            return end.value
        steps.count += 1
        if steps.count == steps.cancel_at:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        value, error = None, None
        try:
            value = yield waits_for
        except BaseException as raised:
            error = raised


async def cancelled(coroutine: Coroutine[Any, Any, Any], steps: Steps) -> None:
    """Runs it in a task of its own to its end, by cancellation or by itself."""

    async def run() -> None:
        await cancelled_at(coroutine, steps)

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def at_every_step(test: Callable[[Steps], Awaitable[None]]) -> int:
    """Runs a test once for each await of what it cancels, until it is through uncancelled; how many that were."""
    for step in range(1, MOST):
        steps = Steps(step)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            try:
                runner.run(_bounded(test, steps))
            except BaseException as error:
                error.add_note(f"cancelled at await {step}")
                raise
        if not steps.was_cancelled:
            return step - 1
    raise AssertionError(f"it waits more than {MOST} times")


async def _bounded(test: Callable[[Steps], Awaitable[None]], steps: Steps) -> None:
    async with asyncio.timeout(1000):
        await test(steps)


class Waiting(FaultyTransport):
    """Each of its calls waits a little, so that it can be cancelled there."""

    async def start(self, node: Any) -> None:
        await asyncio.sleep(0)
        await super().start(node)
        await asyncio.sleep(0)

    async def stop(self) -> None:
        await asyncio.sleep(0)
        await super().stop()
        await asyncio.sleep(0)

    async def publish(self, publication: Any) -> None:
        await asyncio.sleep(0)
        await super().publish(publication)
        await asyncio.sleep(0)


class Source:
    """Waits in its start and stop."""

    name = "waiting"

    def __init__(self) -> None:
        self.running = 0

    async def start(self, pipeline: Any) -> None:
        self.running += 1
        await asyncio.sleep(0)

    async def stop(self) -> None:
        self.running -= 1
        await asyncio.sleep(0)


def make(**more: Any) -> tuple[UpdatePipeline, Waiting, Source]:
    config = config_from_mapping(
        {"batching": {"max_batch_size": 3, "batch_timeout_ms": 0}, **more}, PipelineConfig
    )
    clock = LoopClock()
    parts = default_parts(config, clock)
    transport, source = Waiting(), Source()
    parts.transport, parts.sources = transport, [source]
    return UpdatePipeline(config, parts=parts, clock=clock), transport, source


def queue(pipeline: UpdatePipeline, numbers: range) -> None:
    for n in numbers:
        pipeline.queue_agent_update("agent", "said", {"n": n})


async def holds(pipeline: UpdatePipeline, source: Source, before: set[Any], count: int) -> None:
    """Started again it delivers everything once and in order; stopped, nothing is left."""
    await pipeline.start()
    while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110
        await asyncio.sleep(0.25)
    report = await pipeline.stop()
    assert (report.delivered, report.pending, report.accepted) == (count, 0, count)
    kept = pipeline.store.channel("updates").events_between(0, pipeline.store.head)
    assert [msgspec.json.decode(one.data)["n"] for one in kept] == list(range(count))
    assert source.running == 0
    assert not pipeline.transport.is_started  # type: ignore[attr-defined]
    await asyncio.sleep(5)
    assert asyncio.all_tasks() == before


EVERYWHERE = pytest.mark.fault(
    "F8",
    "cancelled at any await, nothing is lost, doubled or left running, and no permit of the breaker is kept",
)


@EVERYWHERE
def test_start_may_be_cancelled_at_every_await() -> None:
    async def test(steps: Steps) -> None:
        pipeline, _, source = make()
        before = asyncio.all_tasks()
        queue(pipeline, range(5))
        await cancelled(pipeline.start(), steps)
        assert pipeline.is_running is not steps.was_cancelled
        await holds(pipeline, source, before, 5)

    assert at_every_step(test) >= 3


@EVERYWHERE
def test_stop_may_be_cancelled_at_every_await() -> None:
    async def test(steps: Steps) -> None:
        pipeline, _, source = make()
        before = asyncio.all_tasks()
        await pipeline.start()
        socket = RecordingSocket()
        await pipeline.register_websocket("one", socket)
        queue(pipeline, range(8))
        await cancelled(pipeline.stop(), steps)
        assert not pipeline.is_running
        await holds(pipeline, source, before, 8)
        assert pipeline.websocket_manager.get_connection_count() == 0

    assert at_every_step(test) >= 6


@EVERYWHERE
@pytest.mark.parametrize("half_open", [False, True])
def test_the_dispatcher_may_be_cancelled_at_every_await(half_open: bool) -> None:
    """Wherever it is in a delivery, what was in flight is taken up again under its id."""

    async def test(steps: Steps) -> None:
        pipeline, transport, source = make(circuit_breaker={"failure_threshold": 1, "recovery_timeout": 0.5})
        before = asyncio.all_tasks()
        if half_open:
            transport.fail(1)
        run = pipeline._dispatcher.run
        pipeline._dispatcher.run = lambda: cancelled_at(run(), steps)  # type: ignore[method-assign,assignment]
        queue(pipeline, range(10))
        await pipeline.start()
        for _ in range(400):
            if not pipeline.is_running or not pipeline.get_performance_metrics()["pending"]:
                break
            await asyncio.sleep(0.01)
        pipeline._dispatcher.run = run  # type: ignore[method-assign]
        await pipeline.stop(timeout_s=0)
        await holds(pipeline, source, before, 10)
        if half_open:
            assert pipeline.circuit_breaker.state.value == "closed", "each permit came back"

    assert at_every_step(test) >= (15 if half_open else 12)


@EVERYWHERE
def test_publish_may_be_cancelled_at_every_await_and_the_update_goes_on() -> None:
    async def test(steps: Steps) -> None:
        pipeline, _, source = make()
        before = asyncio.all_tasks()
        await pipeline.start()
        other = asyncio.create_task(pipeline.publish("other", "said", {}))
        await cancelled(pipeline.publish("agent", "said", {"n": 0}), steps)
        await other
        queue(pipeline, range(1, 3))
        await pipeline.stop()
        account = pipeline.get_performance_metrics()["conservation"]["total"]
        assert account["delivered"] == 4
        assert source.running == 0
        await asyncio.sleep(5)
        assert asyncio.all_tasks() == before

    assert at_every_step(test) >= 1


@EVERYWHERE
def test_serving_a_socket_may_be_cancelled_at_every_await() -> None:
    """As a server does that gives up on a connection; another client gets its own answers and everything else."""

    async def test(steps: Steps) -> None:
        pipeline, _, source = make(open_channels=["news"])
        before = asyncio.all_tasks()
        await pipeline.start()
        other = RecordingSocket()
        await pipeline.register_websocket("other", other)
        says = [
            {"type": "ping", "timestamp": 1},
            {"type": "subscribe", "channels": ["news", "secret"]},
            {"type": "agent_action", "agent_id": "agent", "action": "move"},
            {"type": "unsubscribe", "channels": ["news"]},
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            if says:
                return {"type": "websocket.receive", "text": msgspec.json.encode(says.pop(0)).decode()}
            await asyncio.sleep(0.5)
            return {"type": "websocket.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            sent.append(message)

        socket = ClassicSocket(pipeline, SocketClient(pipeline.websocket_manager.new_connection_id()))
        queue(pipeline, range(3))
        await cancelled(socket.serve(receive, send), steps)
        assert list(pipeline.websocket_manager.connections) == ["other"]
        queue(pipeline, range(3, 6))
        await other.until(lambda: len(other.events) == 6)
        assert {frame["type"] for frame in other.frames} == {"agent_update"}, "no answer that was another's"
        await holds(pipeline, source, before, 6)

    assert at_every_step(test) >= 6
