"""Start and stop: idempotent, concurrent, cancelled, on other loops, with what is queued kept."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import Any

import msgspec
import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.exceptions import WrongLoop
from django_update_pipeline.runtime.life import StopReport
from django_update_pipeline.testing import FaultyTransport, RecordingSocket, in_virtual_time

from .conftest import MakePipeline, account, settled


def events(pipeline: UpdatePipeline) -> list[Any]:
    kept = pipeline.store.channel("updates").events_between(0, pipeline.store.head)
    return [msgspec.json.decode(one.data)["n"] for one in kept]


def adds_up(report: StopReport) -> bool:
    settled = report.delivered + report.conflated + report.dead_lettered + report.cleared
    return report.accepted == settled + report.pending


class Source:
    """Counts its starts and stops."""

    def __init__(self, *, fails: str = "", hangs: str = "", is_async: bool = False) -> None:
        self.name = "counting"
        self.fails, self.hangs, self.is_async = fails, hangs, is_async
        self.calls: list[str] = []

    def start(self, pipeline: Any) -> Any:
        return self._called("start")

    def stop(self) -> Any:
        return self._called("stop")

    def _called(self, name: str) -> Any:
        self.calls.append(name)
        if self.fails == name:
            raise RuntimeError("a source that fails")
        return self._later(name) if self.is_async or self.hangs else None

    async def _later(self, name: str) -> None:
        if self.hangs == name:
            await asyncio.Event().wait()


@in_virtual_time
async def test_start_and_stop_may_be_called_again_and_at_once(make_pipeline: MakePipeline) -> None:
    transport, source = FaultyTransport(), Source(is_async=True)
    pipeline = make_pipeline(transport, sources=[source], clock="loop")
    assert not pipeline.is_running
    assert adds_up(await pipeline.stop())
    await asyncio.gather(*(pipeline.start() for _ in range(5)))
    assert pipeline.is_running
    assert source.calls == ["start"]
    pipeline.queue_agent_update("a", "said", {"n": 1})
    reports = await asyncio.gather(*(pipeline.stop() for _ in range(5)))
    assert all(adds_up(report) and report.delivered == 1 for report in reports)
    assert source.calls == ["start", "stop"]
    await asyncio.gather(
        pipeline.start(), pipeline.stop(), pipeline.start(), pipeline.stop(), pipeline.start()
    )
    assert pipeline.is_running
    await pipeline.stop()
    assert source.calls == ["start", "stop"] * 4
    assert not transport.is_started


@in_virtual_time
async def test_nested_use_is_one_life(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(clock="loop")
    async with pipeline as outer:
        async with pipeline as inner:
            assert inner is outer is pipeline
        assert not pipeline.is_running
        pipeline.queue_agent_update("a", "said", {"n": 1})
    assert account(pipeline)["pending"] == 1
    async with pipeline:
        await settled(pipeline)


@pytest.mark.fault(
    "F6", "a hundred loops one after the other, ended with stop() or without, keep what is queued"
)
def test_a_hundred_loops_one_after_the_other_keep_what_is_queued(make_pipeline: MakePipeline) -> None:
    """With and without stop(): asyncio.run ends the loop under the pipeline's feet."""
    source = Source(is_async=True)
    pipeline = make_pipeline(sources=[source])

    async def live(n: int) -> None:
        await pipeline.start()
        pipeline.queue_agent_update("a", "said", {"n": 2 * n + 1})
        if n % 3 == 0:
            await settled(pipeline)
        if n % 3 != 1:
            await pipeline.stop()

    for n in range(100):
        pipeline.queue_agent_update("a", "said", {"n": 2 * n})
        asyncio.run(live(n))
    asyncio.run(pipeline_of(pipeline))
    assert events(pipeline) == list(range(200))
    assert source.calls.count("start") == source.calls.count("stop")


async def pipeline_of(pipeline: UpdatePipeline) -> None:
    async with pipeline:
        await settled(pipeline)


@pytest.mark.fault(
    "F6", "what was being published when the loop ended is published again under its id, and arrives once"
)
def test_a_loop_that_ends_in_the_middle_of_a_publish_loses_nothing(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport)

    async def cut_short() -> None:
        transport.hang()
        await pipeline.start()
        for n in range(5):
            pipeline.queue_agent_update("a", "said", {"n": n})
        while not transport.hanging.is_set():  # noqa: ASYNC110 - the event is not awaited: it may be missed
            await asyncio.sleep(0)

    asyncio.run(cut_short())
    assert account(pipeline)["pending"] == 5
    transport.go_on()
    ids = {publication.id for publication in transport.attempts}
    asyncio.run(pipeline_of(pipeline))
    assert events(pipeline) == list(range(5))
    assert transport.published[0].id in ids, "the same publication, under its id"


def test_another_loop_that_is_alive_is_told_apart(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    started, done = threading.Event(), threading.Event()

    async def live() -> None:
        async with pipeline:
            started.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    started.wait()
    try:
        for use in (
            pipeline.start,
            pipeline.stop,
            lambda: pipeline.register_websocket("one", RecordingSocket()),
        ):
            with pytest.raises(WrongLoop):
                asyncio.run(use())
    finally:
        done.set()
        thread.join()
    asyncio.run(pipeline_of(pipeline))


@pytest.mark.fault(
    "F6", "of many loops that start it at once one gets the pipeline, the others one clear error"
)
def test_many_threads_that_start_at_once_agree_on_one_loop(make_pipeline: MakePipeline) -> None:
    for _ in range(5):
        transport = FaultyTransport()
        pipeline = make_pipeline(transport)
        barrier = threading.Barrier(6)
        outcomes: list[str] = []

        async def live(
            pipeline: UpdatePipeline = pipeline,
            barrier: threading.Barrier = barrier,
            outcomes: list[str] = outcomes,
        ) -> None:
            barrier.wait()
            try:
                await pipeline.start()
            except WrongLoop:
                outcomes.append("refused")
            else:
                outcomes.append("started")
            await asyncio.to_thread(barrier.wait)
            if outcomes.count("started") and pipeline._life.loop is asyncio.get_running_loop():
                await pipeline.stop()

        threads = [threading.Thread(target=asyncio.run, args=(live(),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["refused"] * 5 + ["started"]


# the deadline


@in_virtual_time
async def test_stop_while_the_breaker_is_open_gives_account_and_keeps_what_is_pending(
    make_pipeline: MakePipeline,
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.lose_answers(1000)  # taken, and told to nobody
    await pipeline.start()
    for n in range(60):
        pipeline.queue_agent_update("a", "said", {"n": n})
        pipeline.queue_agent_update("b", "state_change", {"n": n})
    await asyncio.sleep(5)
    began = asyncio.get_running_loop().time()
    report = await pipeline.stop(timeout_s=2.0)
    assert 2 <= asyncio.get_running_loop().time() - began < 3
    assert adds_up(report)
    assert not report.in_time
    assert report.pending >= 60
    transport.lose_answers(0)
    ids = {(one.id, one.part) for one in transport.attempts}
    async with pipeline:
        pipeline.reset_circuit_breaker()
        await settled(pipeline)
    assert events(pipeline) == list(range(60)), "once each, although some were taken before"
    assert any((one.id, one.part) in ids for one in transport.published)


@in_virtual_time
async def test_stop_without_time_leaves_everything_pending(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop")
    transport.hang()
    await pipeline.start()
    pipeline.queue_agent_update("a", "said", {"n": 0})
    await asyncio.sleep(0.01)
    report = await pipeline.stop(timeout_s=0)
    assert (report.pending, report.in_time) == (1, False)


@in_virtual_time
async def test_stop_ends_although_the_transport_swallows_cancellation(
    make_pipeline: MakePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """channels_redis does, once in a while; a transport that always does is told of."""
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", transport_timeout_s=3600.0)
    swallowed = 0

    async def publish(publication: Any) -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        raise ConnectionError("down")

    transport.publish = publish  # type: ignore[method-assign]
    await pipeline.start()
    pipeline.queue_agent_update("a", "said", {"n": 0})
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        report = await pipeline.stop(timeout_s=0.5)
    assert report.pending == 1
    assert swallowed == 3
    assert not pipeline.is_running


@pytest.mark.parametrize("what", ["start", "stop"])
@in_virtual_time
async def test_a_transport_that_hangs_at_its_start_or_stop_is_left(
    make_pipeline: MakePipeline, what: str
) -> None:
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", transport_timeout_s=1.0)

    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    original = getattr(transport, what)
    setattr(transport, what, hangs)
    async with asyncio.timeout(10):
        if what == "start":
            with pytest.raises(TimeoutError):
                await pipeline.start()
            assert not pipeline.is_running
            setattr(transport, what, original)
        await pipeline.start()
        await pipeline.stop()
    assert not pipeline.is_running


@in_virtual_time
async def test_a_start_that_fails_leaves_nothing_behind(make_pipeline: MakePipeline) -> None:
    transport, source = FaultyTransport(), Source()
    pipeline = make_pipeline(transport, sources=[source], clock="loop")
    start = transport.start

    async def fails(node: Any) -> None:
        raise ValueError("wrong settings")

    transport.start = fails  # type: ignore[method-assign]
    before = asyncio.all_tasks()
    with pytest.raises(ValueError, match="wrong settings"):
        await pipeline.start()
    assert not pipeline.is_running
    assert pipeline._life.loop is None
    assert asyncio.all_tasks() == before
    transport.start = start  # type: ignore[method-assign]
    async with pipeline:
        assert source.calls == ["start"]


@pytest.mark.parametrize("fault", ["fails", "hangs"])
@pytest.mark.parametrize("at", ["start", "stop"])
@in_virtual_time
async def test_a_source_that_fails_or_hangs_harms_no_other(
    make_pipeline: MakePipeline, fault: str, at: str
) -> None:
    bad, good = Source(**{fault: at}), Source()
    pipeline = make_pipeline(sources=[bad, good], clock="loop", connections={"hook_timeout_s": 2.0})
    async with pipeline:
        assert good.calls == ["start"]
        pipeline.queue_agent_update("a", "said", {"n": 1})
        await settled(pipeline)
    assert good.calls == bad.calls == ["start", "stop"], "what began is ended, also where it failed halfway"


# cancellation


@pytest.mark.parametrize("step", range(14))
@in_virtual_time
async def test_cancelling_start_or_stop_at_any_step_leaves_a_pipeline_that_starts_again(
    make_pipeline: MakePipeline, step: int
) -> None:
    source = Source(is_async=True)
    pipeline = make_pipeline(sources=[source], clock="loop")
    before = asyncio.all_tasks()
    for use in (pipeline.start, pipeline.stop):
        task = asyncio.create_task(use())  # type: ignore[arg-type]
        for _ in range(step):
            await asyncio.sleep(0)
        pipeline.queue_agent_update("a", "said", {"n": 0})
        task.cancel()
        await asyncio.wait([task])
        if use == pipeline.start:
            await pipeline.start()
    await pipeline.stop()
    assert asyncio.all_tasks() == before
    async with pipeline:
        await settled(pipeline)
        assert events(pipeline) == [0, 0]
    assert source.calls.count("start") == source.calls.count("stop")


@pytest.mark.fault(
    "F7", "stopped in the middle of flushes, nothing is lost or doubled, and the account adds up"
)
@pytest.mark.parametrize("step", range(0, 40, 3))
@in_virtual_time
async def test_stopping_at_any_step_of_a_busy_pipeline_loses_and_doubles_nothing(
    make_pipeline: MakePipeline, step: int
) -> None:
    """Stop in the middle of flushes; whatever was taken is resumed under its id."""
    transport = FaultyTransport()
    pipeline = make_pipeline(transport, clock="loop", batching={"max_batch_size": 3, "batch_timeout_ms": 0})
    publish = transport.publish

    async def slowly(publication: Any) -> None:
        await asyncio.sleep(0)
        await publish(publication)
        await asyncio.sleep(0)

    transport.publish = slowly  # type: ignore[method-assign]
    for n in range(30):
        pipeline.queue_agent_update(f"agent_{n % 4}", "said", {"n": n})
    while account(pipeline)["pending"]:
        await pipeline.start()
        for _ in range(step + 5):
            await asyncio.sleep(0)
        report = await pipeline.stop(timeout_s=0)
        assert adds_up(report)
        if step == 0 and report.pending == 30:
            await pipeline.start()
            await asyncio.sleep(1)
    assert sorted(events(pipeline)) == list(range(30))
    for agent in range(4):
        own = [n for n in events(pipeline) if n % 4 == agent]
        assert own == sorted(own)


# nothing left


def open_descriptors() -> int:
    """0 where the system does not say."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


async def test_after_stop_no_task_thread_or_descriptor_is_left(make_pipeline: MakePipeline) -> None:
    tasks = asyncio.all_tasks()
    threads = threading.active_count()
    gc.collect()
    descriptors = open_descriptors()
    for _ in range(3):
        pipeline = make_pipeline()
        async with pipeline:
            sockets = [RecordingSocket() for _ in range(20)]
            for number, socket in enumerate(sockets):
                await pipeline.register_websocket(f"c{number}", socket)
            for n in range(50):
                pipeline.queue_agent_update(f"a{n}", "said", {"n": n})
            await settled(pipeline)
        assert pipeline.websocket_manager.get_connection_count() == 0
        assert all(socket.is_closed and len(socket.events) == 50 for socket in sockets)
    await asyncio.sleep(0)
    gc.collect()
    assert asyncio.all_tasks() == tasks
    assert threading.active_count() <= threads  # one of another test's may have ended
    if descriptors:
        assert open_descriptors() == descriptors


async def test_the_dispatcher_outlives_an_error_of_our_own(
    make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline()
    async with pipeline:
        flush = pipeline._dispatcher._flush
        failures = 0

        async def fails_once() -> None:
            nonlocal failures
            failures += 1
            if failures == 1:
                raise RuntimeError("a bug")
            await flush()

        monkeypatch.setattr(pipeline._dispatcher, "_flush", fails_once)
        pipeline.queue_agent_update("a", "said", {"n": 1})
        await settled(pipeline)
    assert events(pipeline) == [1]


@in_virtual_time
async def test_a_changed_window_takes_effect_at_once(make_pipeline: MakePipeline) -> None:
    """Tuning wakes the loop, which would otherwise sleep through the old window."""
    pipeline = make_pipeline(clock="loop", batching={"batch_timeout_ms": 60_000})
    async with pipeline:
        loop = asyncio.get_running_loop()
        for n in range(20):  # the pause doubles with each flush: soon it is minutes
            pipeline.queue_agent_update("a", "said", {"n": n})
            await settled(pipeline, 600)
        pipeline.queue_agent_update("a", "said", {"n": 20})
        await asyncio.sleep(0.1)
        assert account(pipeline)["pending"] == 1
        began = loop.time()
        pipeline.batch_processor.batch_timeout_ms = 1
        await asyncio.sleep(0.01)
        assert account(pipeline)["pending"] == 0
        assert loop.time() - began < 0.02


# what others have called on the loop


async def test_what_is_called_on_the_loop_runs_at_once_there_and_soon_from_elsewhere(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline()
    calls: list[int] = []
    came = asyncio.Event()

    def call() -> None:
        calls.append(threading.get_ident())
        came.set()

    pipeline._life.call(call)
    assert not calls, "it runs on no loop"
    async with pipeline:
        pipeline._life.call(call)
        assert len(calls) == 1
        came.clear()
        await asyncio.to_thread(pipeline._life.call, call)
        async with asyncio.timeout(20):
            await came.wait()
    pipeline._life.call(call)
    assert calls == [threading.get_ident()] * 2, "on the loop's thread, whoever asked"
