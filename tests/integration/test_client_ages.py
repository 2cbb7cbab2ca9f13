"""What acknowledgements say of ages, over real sockets on uvicorn: late ones, silent ones, and liars."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import prometheus_client  # noqa: F401 - what is scraped needs it: without it this module is left out
import pytest
from django.core.asgi import get_asgi_application

from django_update_pipeline import UpdatePriority
from django_update_pipeline.core.credit import ASK_EVERY_S
from django_update_pipeline.core.session import SYSTEM_CHANNEL
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.routing import with_update_pipeline
from django_update_pipeline.testing.mirror import Mirror

from .test_prometheus import of, scraped, value

uvicorn = pytest.importorskip("uvicorn", reason="python -m pip install uvicorn")
client = pytest.importorskip("websockets.asyncio.client", reason="python -m pip install websockets")

WITHIN_S = 30
LATE_S = 0.6

Frame = dict[str, Any]
Ages = Callable[[Frame], Frame]


def honest(frame: Frame) -> Frame:
    """The age by this machine's clock, which is the server's here."""
    times = [agent["at"] for agent in frame.get("agents", {}).values()]
    return {"age_ms": (time.time() - min(times)) * 1000} if times else {}


class Reader:
    """One client: it applies what comes, and acknowledges it `late_s` later with what `says` makes of the frame."""

    def __init__(self, socket: Any, says: Ages, late_s: float) -> None:
        self.socket = socket
        self.says = says
        self.late_s = late_s
        self.mirror = Mirror()
        self.news = asyncio.Event()

    async def read(self) -> None:
        async for text in self.socket:
            frame = json.loads(text)
            if frame["type"] != "sync":
                continue
            if frame["channel"] != SYSTEM_CHANNEL:
                assert self.mirror.apply(frame)
            if frame.get("ack"):
                applied = self.says(frame)
                await asyncio.sleep(
                    self.late_s
                )  # as its server measures it, by the clock that ages are taken from
                ack = {"type": "ack", "channel": frame["channel"], "offset": frame["to"], **applied}
                await self.socket.send(json.dumps(ack))
            self.news.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not is_so():
                await self.news.wait()
                self.news.clear()


@pytest.fixture
async def port(pipeline: Any) -> AsyncIterator[tuple[Any, int]]:
    """The pipeline of a server on this loop, and its port."""
    line = pipeline()
    config = uvicorn.Config(
        with_update_pipeline(get_asgi_application()), port=0, log_level="warning", lifespan="on"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(WITHIN_S):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
    yield line, server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await asyncio.wait_for(serving, WITHIN_S)


@asynccontextmanager
async def reading(port: int, says: Ages, late_s: float = 0.0) -> AsyncIterator[Reader]:
    uri = f"ws://127.0.0.1:{port}/ws/updates/"
    async with client.connect(uri, subprotocols=[SUBPROTOCOL]) as socket:
        reader = Reader(socket, says, late_s)
        await socket.send(json.dumps({"type": "subscribe", "channels": ["updates"]}))
        task = asyncio.create_task(reader.read())
        try:
            await reader.until(lambda: reader.mirror.is_live)
            yield reader
        finally:
            task.cancel()
            await asyncio.wait([task])


def shows(reader: Reader, count: int) -> bool:
    return bool(reader.mirror.agents.get("lamp", {}).get("n", -1) >= count)


async def samples_of(
    line: Any, reader: Reader, wanted: int, key: str = "acknowledged", priority: Any = UpdatePriority.HIGH
) -> Frame:
    """Queues until there are so many samples; the metrics then."""
    before = line.get_performance_metrics()[key]["count"]
    async with asyncio.timeout(WITHIN_S):
        count = 0
        while line.get_performance_metrics()[key]["count"] - before < wanted:
            count += 1
            await line.publish("lamp", data={"n": count}, priority=priority)
            await reader.until(partial(shows, reader, count))
            await asyncio.sleep(ASK_EVERY_S / 4)
    metrics: Frame = line.get_performance_metrics()
    return metrics


async def test_an_acknowledgement_that_is_late_shows_where_the_server_saw_nothing(port: Any) -> None:
    """A client that took long to apply what the server had handed it at once."""
    line, number = port

    def slow(frame: Frame) -> Frame:
        said = honest(frame)
        return {"age_ms": said["age_ms"] + LATE_S * 1000} if said else {}

    async with reading(number, slow, late_s=LATE_S) as reader:
        metrics = await samples_of(line, reader, 2)
    applied, acknowledged = (metrics[key]["by_priority"]["high"] for key in ("applied", "acknowledged"))
    assert applied["count"] == acknowledged["count"] >= 2
    assert applied["p50_latency_ms"] >= LATE_S * 1000 * 0.97
    assert acknowledged["p99_latency_ms"] >= applied["p50_latency_ms"] * 0.97
    assert metrics["by_priority"]["high"]["p50_latency_ms"] < applied["p50_latency_ms"], "the server's own"
    assert metrics["applied"]["by_priority"]["critical"]["count"] == 0

    registry, _ = of(lambda: line)
    found = scraped(registry)
    for name in ("applied", "acknowledged"):
        assert value(found, f"{name}_latency_seconds_count", priority="high") == acknowledged["count"]
        assert value(found, f"{name}_latency_seconds_bucket", priority="high", le="0.5") == 0
        assert value(found, f"{name}_latency_seconds_bucket", priority="high", le="+Inf") >= 2


@pytest.mark.parametrize("age_ms", [-1e12, -0.4, 0, 1e-300, 1e12, 1.7e308])
async def test_a_liar_is_held_between_what_the_server_knows(port: Any, age_ms: float) -> None:
    """It was late, and says that it was not, or that it was for ages: its own way is all it can hide or add."""
    line, number = port
    began = time.monotonic()
    async with reading(number, lambda frame: {"age_ms": age_ms}, late_s=0.2) as reader:
        metrics = await samples_of(line, reader, 2)
    took_ms = (time.monotonic() - began) * 1000
    applied, acknowledged = (metrics[key]["by_priority"]["high"] for key in ("applied", "acknowledged"))
    assert applied["count"] == acknowledged["count"] >= 2
    assert applied["max_latency_ms"] <= acknowledged["max_latency_ms"] <= took_ms
    if age_ms > 1:
        assert applied["max_latency_ms"] >= 200
    else:
        assert applied["average_latency_ms"] <= acknowledged["average_latency_ms"] - 200, "not the way back"
        assert applied["max_latency_ms"] > 0, "until it was sent, the server knows"


async def test_a_client_that_measures_nothing_is_in_the_upper_bound_alone(port: Any) -> None:
    line, number = port
    async with reading(number, lambda frame: {}) as reader:
        metrics = await samples_of(line, reader, 2)
    assert metrics["acknowledged"]["by_priority"]["high"]["count"] >= 2
    assert metrics["applied"]["count"] == 0


async def test_what_nobody_asked_for_is_no_sample(port: Any) -> None:
    """A flood of acknowledgements weighs nothing, whatever they say."""
    line, number = port
    async with reading(number, honest) as reader:
        metrics = await samples_of(line, reader, 1)
        counted = metrics["acknowledged"]["count"]
        flood = {"type": "ack", "channel": "updates", "offset": reader.mirror.position}
        for _ in range(50):
            await reader.socket.send(json.dumps({**flood, "age_ms": 1e6, "repaired": 1000}))
        await reader.socket.send(json.dumps({"type": "unsubscribe", "channels": ["nothing"]}))
        metrics = await samples_of(line, reader, 1)
    assert metrics["acknowledged"]["count"] <= counted + 2
    assert metrics["divergence_repaired"] == 0


async def test_what_a_returning_client_is_sent_to_begin_with_is_no_sample(port: Any) -> None:
    """It is as old as the absence."""
    line, number = port
    await line.publish("lamp", data={"n": 0})
    async with reading(number, honest) as reader:
        assert reader.mirror.agents == {"lamp": {"n": 0}}
        metrics = await samples_of(line, reader, 1)
    assert metrics["applied"]["by_priority"]["normal"]["count"] == 0


async def test_repairs_are_counted_logged_and_told(port: Any, caplog: Any) -> None:
    line, number = port
    reports = iter([3, 1_000_000])
    with caplog.at_level(logging.WARNING, "django_update_pipeline"):
        async with reading(number, lambda frame: {"repaired": next(reports, 0)}) as reader:
            await samples_of(line, reader, 2)
    metrics, health = line.get_performance_metrics(), line.get_health_status()
    assert metrics["divergence_repaired"] == 1000, "of one connection no more"
    assert health["deductions"]["divergence_repaired"] == 20
    assert any("repaired 1000 agents" in issue for issue in health["issues"])
    lines = [record.getMessage() for record in caplog.records if "repaired" in record.getMessage()]
    assert len(lines) == 2
    assert "3 agents of channel" in lines[0]
    assert "997 agents of channel" in lines[1]
    registry, _ = of(lambda: line)
    assert value(scraped(registry), "divergence_repaired_total") == 1000
