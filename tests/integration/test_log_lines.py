"""No text of a client or a plugin forges, colours or floods a log: each record is one bounded, plain line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from django_update_pipeline import PipelineConfig, UpdatePipeline, UpdatePriority, hookimpl
from django_update_pipeline.assembly import build_pipeline
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.core.messages import JSONObject
from django_update_pipeline.exceptions import InvalidUpdate, UpdatesRejected
from django_update_pipeline.routing import WebSocketDoor
from django_update_pipeline.runtime.socket import ClassicSocket, SocketClient
from django_update_pipeline.service import control_handlers
from django_update_pipeline.testing import FaultyTransport
from tests.integration.asgi import HOST, ORIGIN, AsgiSocket

FORGED = "forged\n2026-01-01 ERROR root: owned\r\n\x1b[31mred\x1b[0m\x00\x85\u2028\u2029\ud800"
HOSTILE = FORGED + "A" * 10_000
PLAIN = HOSTILE.replace("\ud800", "")  # where a half surrogate can't get
MAX_CHARS = 1200

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Error(Exception):
    """What a plugin raises, with a hostile text and name."""


Error.__qualname__ = Error.__name__ = "Forged\nName"


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    """What a handler would write, after checking it."""
    formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")
    found = [
        formatter.format(record)
        for record in caplog.records
        if record.levelno >= level and record.name.startswith("django_update_pipeline")
    ]
    for line in found:
        assert not _CONTROL.search(line), repr(line)
        assert len(line) <= MAX_CHARS, f"{len(line)}: {line[:300]!r}"
    return found


Scene = Callable[[], Awaitable[None]]
SCENES: dict[str, Scene] = {}


def scene(run: Scene) -> Scene:
    SCENES[run.__name__] = run
    return run


def made(*plugins: object, transport: Any = None, **config: Any) -> UpdatePipeline:
    """A pipeline with plugins, whose retries take no time."""
    settings: PipelineConfig = config_from_mapping(
        {
            "retry": {"max_retries": 1, "base_delay_s": 0.001},
            "transport": "x" if transport else "memory",
            **config,
        }
    )
    if transport is not None:

        class Provides:
            @hookimpl
            def provide_transport(self, config: PipelineConfig) -> Any:
                return transport

        plugins = (Provides(), *plugins)
    return build_pipeline(settings, extra_plugins=plugins)


async def settled(pipeline: UpdatePipeline) -> None:
    async with asyncio.timeout(20):
        while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.005)


@scene
async def a_handshake() -> None:
    async with made() as pipeline:
        door = WebSocketDoor(pipeline=pipeline)
        latin = HOSTILE.encode("utf-8", "replace")
        for headers in (
            [HOST, (b"origin", latin)],
            [(b"host", latin), ORIGIN],
            [HOST, ORIGIN, (b"origin", latin)],
        ):
            socket = AsgiSocket(door, headers=headers, query_string=latin[:900])
            assert not await socket.connect()


@scene
async def a_transformer() -> None:
    class Bad:
        name = HOSTILE

        def transform(self, agent_id: str, update_type: str, data: JSONObject) -> JSONObject:
            raise Error(HOSTILE)

    class Provides:
        @hookimpl
        def provide_transformers(self, config: PipelineConfig) -> list[Any]:
            return [Bad()]

    async with made(Provides()) as pipeline:
        for number in range(40):
            pipeline.queue_agent_update(f"agent_{number}", "noise", {"text": PLAIN})
        async with asyncio.timeout(20):  # it is switched off then, and what is left waits for it
            while not any(row["is_off"] for row in pipeline.plugins.report()):  # noqa: ASYNC110 - looking is the test
                await asyncio.sleep(0.005)


@scene
async def a_source() -> None:
    class Bad:
        name = HOSTILE

        def start(self, pipeline: Any) -> None:
            raise Error(HOSTILE)

        def stop(self) -> None:
            raise Error(HOSTILE)

    class Provides:
        @hookimpl
        def provide_sources(self, config: PipelineConfig) -> list[Any]:
            return [Bad()]

    async with made(Provides()):
        pass


@scene
async def a_router() -> None:
    class Bad:
        def route(self, agent_id: str, update_type: str) -> Any:
            raise Error(HOSTILE)

    class Provides:
        @hookimpl
        def provide_router(self, config: PipelineConfig) -> Any:
            return Bad()

    async with made(Provides()) as pipeline:
        pipeline.queue_agent_update("lamp", data={})
        await settled(pipeline)


@scene
async def an_observer() -> None:
    told = asyncio.Event()

    class Bad:
        @hookimpl
        def observe_batch_delivered(self, size: int, duration_s: float) -> None:
            told.set()
            raise Error(HOSTILE)

    async with made(Bad()) as pipeline:
        await pipeline.publish("lamp", data={})
        await asyncio.wait_for(told.wait(), 20)


@scene
async def hooks_and_actions() -> None:
    class Bad:
        @hookimpl
        def authorize_subscribe(self, client: Any, channel: str) -> Any:
            if channel == "raises":
                raise Error(HOSTILE)
            return HOSTILE

        @hookimpl
        def authorize_action(self, client: Any, agent_id: str, action: str, params: JSONObject) -> Any:
            return True

        @hookimpl
        def handle_action(self, client: Any, agent_id: str, action: str, params: JSONObject) -> Any:
            raise Error(HOSTILE)

    async with made(Bad()) as pipeline:
        await _said(
            pipeline,
            {"type": "subscribe", "channels": ["raises", "odd", PLAIN[:500]]},
            {"type": "agent_action", "agent_id": "a", "action": FORGED.replace("\ud800", ""), "params": {}},
            {"type": "agent_action", "agent_id": "a", "action": "tune", "params": {FORGED[:20]: 1}},
        )


async def _said(pipeline: UpdatePipeline, *frames: Any) -> None:
    """A client that sends these and gets an answer to each."""
    sent: list[dict[str, Any]] = []
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    task = asyncio.create_task(ClassicSocket(pipeline, SocketClient("ws_1")).serve(inbox.get, send))
    for frame in frames:
        before = len(sent)
        inbox.put_nowait(
            {"type": "websocket.receive", "text": frame if isinstance(frame, str) else json.dumps(frame)}
        )
        async with asyncio.timeout(20):
            while len(sent) <= before:  # noqa: ASYNC110 - looking is the test
                await asyncio.sleep(0.005)
    inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await asyncio.wait_for(task, 20)


@scene
async def a_frame_that_fails_here() -> None:
    """A bug of ours that a client reaches again and again."""

    class Socket(ClassicSocket):
        async def handle(self, frame: Any) -> None:
            raise Error(HOSTILE)

    async with made() as pipeline:
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        sent: list[Any] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        task = asyncio.create_task(Socket(pipeline, SocketClient(PLAIN)).serve(inbox.get, send))
        for _ in range(30):
            inbox.put_nowait({"type": "websocket.receive", "text": '{"type":"ping","timestamp":1}'})
        async with asyncio.timeout(20):
            while len(sent) < 31:  # noqa: ASYNC110 - looking is the test
                await asyncio.sleep(0.005)
        inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(task, 20)


@scene
async def a_transport() -> None:
    transport = FaultyTransport()
    transport.name = HOSTILE
    async with made(transport=transport, circuit_breaker={"failure_threshold": 2}) as pipeline:
        transport.fail(3, Error(HOSTILE))
        pipeline.queue_agent_update("lamp", data={})
        async with asyncio.timeout(20):
            while transport.failed < 2:  # noqa: ASYNC110 - looking is the test
                await asyncio.sleep(0.005)
        pipeline.reset_circuit_breaker()
        await settled(pipeline)
        pipeline.circuit_breaker.force_open(HOSTILE)
        pipeline.reset_circuit_breaker()

        async def stop() -> None:
            raise Error(HOSTILE)

        transport.stop = stop  # type: ignore[method-assign]


@scene
async def a_rejection() -> None:
    transport = FaultyTransport()
    transport.reject(lambda change: True, HOSTILE)
    async with made(transport=transport) as pipeline:
        pipeline.queue_agent_update("lamp \u202e'\"%s", "noise", {})
        await settled(pipeline)
        with contextlib.suppress(InvalidUpdate):
            pipeline.queue_agent_update(FORGED, "noise", {})
        raise_it = UpdatesRejected({0: HOSTILE})
        transport.fail(1, raise_it)
        pipeline.queue_agent_update("lamp", "noise", {})
        await settled(pipeline)


@scene
async def a_broken_socket() -> None:
    class Broken:
        async def send(self, text: str) -> None:
            raise Error(HOSTILE)

        async def close(self) -> None:
            raise Error(HOSTILE)

    async with made() as pipeline:
        await pipeline.register_websocket(HOSTILE, Broken())
        pipeline.queue_agent_update("lamp", data={})
        async with asyncio.timeout(20):
            while pipeline.websocket_manager.connections:  # noqa: ASYNC110 - looking is the test
                await asyncio.sleep(0.005)


@scene
async def policies() -> None:
    class Retry:
        def delay_s(self, retry_count: int) -> float:
            raise Error(HOSTILE)

    class Batching:
        max_batch_size = 10
        batch_timeout_ms = 1.0

        def windows_s(self) -> Any:
            raise Error(HOSTILE)

        def due_at(self, priority: UpdatePriority, now: float) -> float:
            raise Error(HOSTILE)

        def limit(self) -> int:
            raise Error(HOSTILE)

        def flushed(self, classes: Any, now: float) -> None:
            raise Error(HOSTILE)

        def measured(self, size: int, duration_s: float, is_behind: bool = False) -> None:
            raise Error(HOSTILE)

    class Provides:
        @hookimpl
        def provide_retry_policy(self, config: PipelineConfig) -> Any:
            return Retry()

        @hookimpl
        def provide_batching_policy(self, config: PipelineConfig) -> Any:
            return Batching()

    transport = FaultyTransport()
    transport.reject(lambda change: True, "no")
    async with made(Provides(), transport=transport) as pipeline:
        pipeline.queue_agent_update("lamp", "noise", {})
        await settled(pipeline)


@scene
async def a_health_check() -> None:
    class Bad:
        name = HOSTILE

        def check(self) -> str | None:
            raise Error(HOSTILE)

    class Provides:
        @hookimpl
        def provide_health_checks(self, config: PipelineConfig) -> list[Any]:
            return [Bad()]

    async with made(Provides()) as pipeline:
        issues = pipeline.get_health_status()["issues"]
        assert issues
        assert not any(_CONTROL.search(issue) for issue in issues)
        assert all(len(issue) < MAX_CHARS for issue in issues)


@scene
async def an_operator() -> None:
    async with made() as pipeline:
        handlers = control_handlers(pipeline)
        for command, params in (
            ("close_connection", {"connection_id": PLAIN[:100]}),
            ("enable_plugin", {"plugin": PLAIN[:100]}),
            ("hold_circuit_breaker", {"reason": PLAIN[:100]}),
        ):
            with contextlib.suppress(Exception):
                await handlers[command](**params)


@pytest.mark.parametrize("name", list(SCENES))
async def test_each_record_is_one_bounded_line(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await SCENES[name]()
    told = [
        line for line in lines(caplog) if "pipeline started" not in line and "pipeline stopped" not in line
    ]
    assert told, "this scene reached no log: it shows nothing"
    # What repeats is told ever more seldom: no scene writes a line for each of its thirty or forty failures.
    assert len(told) <= 15, "\n".join(told)


async def test_payloads_are_in_no_record_of_any_level(caplog: pytest.LogCaptureFixture) -> None:
    """An update's data is private: not in a line, not in a traceback at DEBUG."""
    caplog.set_level(logging.DEBUG)
    secret = "swordfish-17"

    class Bad:
        def transform(self, agent_id: str, update_type: str, data: JSONObject) -> JSONObject:
            if agent_id == "bad":
                raise Error("it does not like it")
            return data

    class Provides:
        @hookimpl
        def provide_transformers(self, config: PipelineConfig) -> list[Any]:
            return [Bad()]

    transport = FaultyTransport()
    async with made(Provides(), transport=transport) as pipeline:
        transport.fail(2)
        for agent_id in ("good", "bad"):
            pipeline.queue_agent_update(agent_id, "noise", {"password": secret})
            pipeline.queue_agent_update(agent_id, data={"password": secret})
        await _said(
            pipeline, f'{{"type":"agent_action","agent_id":"a","action":"b","params":{{"p":"{secret}"}}}}'
        )
        await settled(pipeline)
    formatter = logging.Formatter("%(message)s")
    assert not [text for record in caplog.records if secret in (text := formatter.format(record))]
    assert caplog.records
