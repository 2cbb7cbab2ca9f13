"""How the runtime's tests make a pipeline, and what they hold against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.core.account import TERMS
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.core.ports import Clock, Transport
from django_update_pipeline.core.retry import ExponentialBackoff
from django_update_pipeline.runtime.clock import SystemClock
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import FaultyTransport, LoopClock, VirtualTimeLoop

MakePipeline = Callable[..., UpdatePipeline]


@pytest.fixture
def make_pipeline() -> MakePipeline:
    """Makes a bare pipeline; `clock="loop"` reads the running loop's time, `retry_s` is the retries' fixed pause."""

    def make(
        transport: Transport | None = None,
        *,
        clock: Clock | str | None = None,
        transformers: Iterable[Any] = (),
        sources: Iterable[Any] = (),
        retry_s: float | None = None,
        defer: Any = None,
        **config: Any,
    ) -> UpdatePipeline:
        made: PipelineConfig = config_from_mapping(config)
        used: Clock = LoopClock() if clock == "loop" else clock or SystemClock()  # type: ignore[assignment]
        parts = default_parts(made, used)
        parts.transport = transport or FaultyTransport()
        parts.transformers = list(transformers)
        parts.sources = list(sources)
        if retry_s is not None:
            parts.retry = ExponentialBackoff(retry_s, retry_s, random=lambda: 1.0)
        return UpdatePipeline(made, parts=parts, clock=used, defer=defer)

    return make


def account(pipeline: UpdatePipeline) -> dict[str, int]:
    """The account's total, after checking that it adds up for every priority."""
    rows = pipeline.get_performance_metrics()["conservation"]
    for row in rows.values():
        assert row["accepted"] == sum(row[term] for term in TERMS if term != "accepted"), rows
        assert min(row.values()) >= 0, rows
    assert pipeline._monitor.check_account() == 0, "what waits and is in flight is not what is pending"
    total: dict[str, int] = rows["total"]
    return total


async def settled(pipeline: UpdatePipeline, timeout_s: float = 20.0) -> dict[str, int]:
    """Waits until nothing is pending. On a virtual loop this takes no time."""
    virtual = isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
    async with asyncio.timeout(timeout_s):
        while account(pipeline)["pending"]:  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.25 if virtual else 0.002)
    return account(pipeline)
