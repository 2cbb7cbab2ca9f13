"""A flush: several batches that are handed out together, and what is told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.batching import FLUSH_BYTES, AdaptiveBatching
from django_update_pipeline.core.publication import Publication
from django_update_pipeline.core.session import ClassicSession
from django_update_pipeline.testing import FaultyTransport, RecordingSocket, in_virtual_time
from django_update_pipeline.transports.memory import MemoryTransport

from .conftest import MakePipeline, account, settled


class Wide(AdaptiveBatching):
    """Has much handed out together, whatever it takes."""

    def limit(self) -> int:
        return 1000


class SlowAtTheLast(FaultyTransport):
    """Takes its time for a batch that is not full."""

    async def publish(self, publication: Publication) -> None:
        if len(publication.changes) < 5:
            await asyncio.sleep(3.0)
        await super().publish(publication)


@pytest.fixture
def told() -> list[tuple[int, float]]:
    """Each flush that was told of: how many updates it delivered in how many seconds."""
    return []


@pytest.fixture
def wide(make_pipeline: MakePipeline, told: list[tuple[int, float]]) -> MakePipeline:
    """Makes a pipeline whose batches have five updates, and whose flushes many more."""

    def make(*args: Any, **options: Any) -> UpdatePipeline:
        pipeline = make_pipeline(*args, clock="loop", **options)
        pipeline.batch_processor.policy = Wide()
        pipeline.batch_processor.max_batch_size = 5
        dispatcher = pipeline._dispatcher
        on_batch = dispatcher.on_batch

        def note(delivered: list[Any], began: float, done: float) -> None:
            told.append((len(delivered), done - began))
            on_batch(delivered, began, done)

        dispatcher.on_batch = note
        return pipeline

    return make


def say(pipeline: UpdatePipeline, count: int) -> None:
    for number in range(count):
        pipeline.queue_agent_update(f"agent {number}", "said", {"n": number})


@in_virtual_time
async def test_batches_are_one_flush_while_the_loop_does_not_turn(
    wide: MakePipeline, told: list[tuple[int, float]]
) -> None:
    pipeline = wide(MemoryTransport())
    say(pipeline, 23)
    async with pipeline:
        await settled(pipeline)
        metrics = pipeline.get_performance_metrics()
    assert told == [(23, 0.0)]
    assert (metrics["last_batch_size"], metrics["batches"]) == (3, 1)


@in_virtual_time
async def test_what_a_transformer_adds_counts_for_what_is_handed_out_together(
    wide: MakePipeline, told: list[tuple[int, float]]
) -> None:
    """It is what connections get: many small updates may be too much for frames that all of them share."""

    class Fills:
        def transform(self, agent_id: str, update_type: str, data: Any) -> Any:
            return {**data, "text": "x" * (FLUSH_BYTES // 10)}

    pipeline = wide(MemoryTransport(), transformers=[Fills()])
    say(pipeline, 23)
    async with pipeline:
        await settled(pipeline)
    assert [size for size, _ in told] == [10, 10, 3]


@in_virtual_time
async def test_a_flush_is_no_more_than_classic_connections_share(
    wide: MakePipeline, told: list[tuple[int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each of a thousand to go through the store alone is ten times the work."""
    passes: list[ClassicSession] = []
    fall_behind = ClassicSession.fall_behind

    def note(session: ClassicSession) -> None:
        passes.append(session)
        fall_behind(session)

    pipeline = wide(MemoryTransport())
    socket = RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("one", socket, {"updates", "others"})
        await pipeline.websocket_manager.caught_up(1.0)
        monkeypatch.setattr(ClassicSession, "fall_behind", note)
        for number in range(400):
            pipeline.queue_agent_update(f"{number}", "state_change", {}, channels=["updates", "others"])
        await settled(pipeline)
        await pipeline.websocket_manager.caught_up(1.0)
    assert not passes
    assert [size for size, _ in told] == [128, 128, 128, 16]


@in_virtual_time
async def test_a_batch_that_takes_long_is_a_flush_of_its_own(
    wide: MakePipeline, told: list[tuple[int, float]]
) -> None:
    """Those before it were handed out meanwhile: they are told of at once, and are not as old as it is."""
    pipeline = wide(SlowAtTheLast())
    async with pipeline:
        say(pipeline, 8)
        await asyncio.sleep(1.0)
        assert told == [(5, 0.0)]
        await settled(pipeline)
        assert told == [(5, 0.0), (3, 3.0)]
        by_priority = pipeline.get_performance_metrics()["by_priority"]
    assert by_priority["normal"]["p50_latency_ms"] < 10.0


@in_virtual_time
async def test_what_was_delivered_is_told_of_though_what_follows_is_interrupted(
    wide: MakePipeline, told: list[tuple[int, float]]
) -> None:
    """Started again, what was interrupted is delivered, and told of as everything is."""
    pipeline = wide(SlowAtTheLast())
    await pipeline.start()
    say(pipeline, 8)
    await asyncio.sleep(1.0)
    await pipeline.stop(timeout_s=1.0)
    assert account(pipeline)["delivered"] == 5
    assert told == [(5, 0.0)]
    async with pipeline:
        await settled(pipeline)
    assert told == [(5, 0.0), (3, 3.0)]
