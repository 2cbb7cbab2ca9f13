"""The founding document itself: every sample in it is known here, and those that are Python are run.

The document lies beside the checkout, in `../shared`; our own words for all it says are in the other modules of
this folder and need no document.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import logging
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest

from dating_show.services import update_pipeline
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.services.update_pipeline import CircuitState, UpdateMessage, UpdatePipeline, UpdatePriority

from .conftest import Screen
from .document import PATH, Key, Sample, read_samples
from .serving import eventually

pytestmark = pytest.mark.slow

RUN, SERVED, STATEMENT, NOT_RUN = "run here", "run in a server", "a statement, tested in our words", "not run"

TABLE: dict[tuple[str, Key], str] = {
    ("python", ("1. UnifiedAgentManager Integration", 1)): RUN,
    ("python", ("2. FrontendStateAdapter Integration", 1)): RUN,
    ("python", ("3. Django Channels Integration (Optional)", 1)): RUN,
    # No Python: `UpdatePriority.CRITICAL: < 50ms`. test_tuning.py holds the classes against it.
    ("python", ("Batch Processing Engine", 1)): STATEMENT,
    # No Python: `CLOSED: Normal operation (0-4 failures)`. test_tuning.py trips and resets the breaker.
    ("python", ("Circuit Breaker Pattern", 1)): STATEMENT,
    ("python", ("Core Methods", 1)): RUN,
    ("python", ("Integration Setup", 1)): RUN,
    ("javascript", ("Message Types (Client → Server)", 1)): SERVED,  # test_javascript.py
    ("javascript", ("Message Types (Server → Client)", 1)): SERVED,
    ("python", ("1. Basic Setup (No Django Channels)", 1)): RUN,
    # pip install: the extras `channels` and `redis` name the same distributions (tests/meta).
    ("bash", ("2. Enhanced Setup (With Django Channels)", 1)): NOT_RUN,
    ("python", ("2. Enhanced Setup (With Django Channels)", 1)): RUN,
    ("python", ("2. Enhanced Setup (With Django Channels)", 2)): SERVED,  # test_setup.py
    ("javascript", ("JavaScript WebSocket Client", 1)): SERVED,
    ("jsx", ("React Integration Example", 1)): SERVED,
    ("python", ("Performance Metrics", 1)): RUN,
    ("python", ("Health Monitoring", 1)): RUN,
    ("python", ("Debug Logging", 1)): RUN,
    ("javascript", ("Admin WebSocket Interface", 1)): SERVED,
    ("python", ("Circuit Breaker Configuration", 1)): RUN,
    ("python", ("Retry Logic", 1)): RUN,
    ("python", ("Scaling Configuration", 1)): RUN,
    ("python", ("Redis Backend (Channels)", 1)): SERVED,  # test_setup.py, on two servers
    # Comments only; two servers over one layer are in test_setup.py.
    ("python", ("Load Balancing", 1)): STATEMENT,
    ("python", ("Monitoring and Alerting", 1)): RUN,
    ("python", ("Debug Commands", 1)): RUN,
    ("python", ("Unit Tests", 1)): RUN,
    ("python", ("Integration Tests", 1)): RUN,
    ("python", ("Load Testing", 1)): RUN,
}

CHECKS: dict[str, Callable[..., Any]] = {}
"""What must be true after a sample ran, by its heading."""


@pytest.fixture(scope="module")
def document() -> dict[tuple[str, Key], Sample]:
    if not PATH.exists():
        pytest.skip(f"no founding document at {PATH}: put it there to have its own samples run")
    return {(s.language, s.key): s for s in read_samples(PATH.read_text(encoding="utf-8"))}


def test_every_sample_of_the_document_is_known_here_and_none_is_missing(
    document: dict[tuple[str, Key], Sample],
) -> None:
    assert document.keys() - TABLE.keys() == set(), "say in TABLE what becomes of these"
    assert TABLE.keys() - document.keys() == set(), "these are not in the document any more"
    assert CHECKS.keys() == {heading for (_, (heading, _)), what in TABLE.items() if what is RUN}


def compiled(sample: Sample) -> CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(sample.text, f"<{sample.heading}>", "exec", flags, dont_inherit=True)
    return code


async def execute(sample: Sample, **free: Any) -> dict[str, Any]:
    """Runs a sample with its free names; what it defined. Its own `await`s at the top level are allowed."""
    space: dict[str, Any] = {"__name__": "founding_document", **free}
    result = eval(compiled(sample), space)
    if inspect.isawaitable(result):
        await result
    return space


def to_run() -> list[Any]:
    """The samples that run here; two of them are of Channels."""
    channels = {"3. Django Channels Integration (Optional)", "2. Enhanced Setup (With Django Channels)"}
    keys = [key for (_, key), what in TABLE.items() if what is RUN]
    return [pytest.param(k, id=k[0], marks=[pytest.mark.channels] if k[0] in channels else []) for k in keys]


@pytest.mark.parametrize("key", to_run())
async def test_the_sample_runs(
    document: dict[tuple[str, Key], Sample], the_show: UnifiedAgentManager, key: Key
) -> None:
    await CHECKS[key[0]](document["python", key], the_show)


@pytest.mark.parametrize("key", [k for (lang, k), what in TABLE.items() if what is STATEMENT], ids=str)
def test_a_statement_is_no_program(document: dict[tuple[str, Key], Sample], key: Key) -> None:
    """Should one of these become a program, it is to be run."""
    try:
        assert ast.parse(document["python", key].text).body == []
    except SyntaxError:
        pass


def check(heading: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        CHECKS[heading] = function
        return function

    return note


@check("1. UnifiedAgentManager Integration")
async def handle_agent_state_change(sample: Sample, manager: UnifiedAgentManager) -> None:
    """The method works as a listener of the manager, with a pipeline of ours as its `self`."""
    pipeline = update_pipeline.get_update_pipeline()
    space = await execute(sample, Any=Any)
    manager.add_update_listener(space["_handle_agent_state_change"].__get__(pipeline))
    manager.register_agent("agent_001", "Ava Stone")
    manager.update_agent_state("agent_001", {"location": "pool"}, batch_mode=False)
    (update,) = pipeline.batch_processor.pending_updates[UpdatePriority.NORMAL]
    assert update.data["current_location"] == "pool"


@check("2. FrontendStateAdapter Integration")
async def convert(sample: Sample, manager: UnifiedAgentManager) -> None:
    pipeline = update_pipeline.get_update_pipeline()
    manager.register_agent("agent_001", "Ava Stone")
    await execute(sample, self=pipeline, agent_id="agent_001", update_type="state_change")
    (update,) = pipeline.batch_processor.pending_updates[UpdatePriority.NORMAL]
    assert update.data["name"] == "Ava Stone"


@check("3. Django Channels Integration (Optional)")
async def routing(sample: Sample, manager: UnifiedAgentManager) -> None:
    from channels.routing import URLRouter
    from django.urls import re_path

    space = await execute(sample, re_path=re_path)
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    headers = [(b"host", b"localhost")]
    scope = {
        "type": "websocket",
        "path": "/ws/dating_show/",
        "headers": headers,
        "subprotocols": [],
        "user": None,
    }
    serving = asyncio.create_task(URLRouter(space["websocket_urlpatterns"])(scope, received.get, sent.put))
    async with asyncio.timeout(10):
        assert (await sent.get())["type"] == "websocket.accept"
        assert "connection_established" in (await sent.get())["text"]
        received.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await serving
    await update_pipeline.get_update_pipeline().stop()


@check("Core Methods")
async def core_methods(sample: Sample, manager: UnifiedAgentManager) -> None:
    """The lines are a list of what there is, not a story: the service is stopped by the second."""
    pipeline = UpdatePipeline()
    space = await execute(
        sample,
        pipeline=pipeline,
        id="ws_1",
        ws=Screen(),
        frontend_data={"name": "Ava Stone"},
        UpdatePriority=UpdatePriority,
    )
    assert space["metrics"]["total_updates"] == 1
    assert 0 <= space["health"]["health_score"] <= 100


@check("Integration Setup")
async def integration_setup(sample: Sample, manager: UnifiedAgentManager) -> None:
    pipeline = (await execute(sample))["pipeline"]
    assert pipeline.is_running
    await pipeline.stop()


@check("1. Basic Setup (No Django Channels)")
async def basic_setup(sample: Sample, manager: UnifiedAgentManager) -> None:
    await (await execute(sample))["main"]()
    assert not update_pipeline.get_update_pipeline().is_running


@check("2. Enhanced Setup (With Django Channels)")
async def enhanced_settings(sample: Sample, manager: UnifiedAgentManager) -> None:
    """Its layer is the one of test_setup.py; the rest are names that the example has too."""
    from dating_show import settings as example

    space = await execute(sample)
    assert set(space["INSTALLED_APPS"]) <= set(example.INSTALLED_APPS)
    assert space["ASGI_APPLICATION"] == example.ASGI_APPLICATION
    core = pytest.importorskip("channels_redis.core", reason="python -m pip install channels-redis")
    layer = space["CHANNEL_LAYERS"]["default"]
    assert layer["BACKEND"] == "channels_redis.core.RedisChannelLayer"
    core.RedisChannelLayer(**layer["CONFIG"])


@check("Performance Metrics")
async def performance_metrics(sample: Sample, manager: UnifiedAgentManager) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        await execute(sample, pipeline=UpdatePipeline())
    lines = printed.getvalue().splitlines()
    assert len(lines) == 5
    assert "Success rate: 100.00%" in lines
    assert "Circuit breaker state: closed" in lines


@check("Health Monitoring")
async def health_monitoring(sample: Sample, manager: UnifiedAgentManager) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        await execute(sample, pipeline=UpdatePipeline())
    score, status, issues = printed.getvalue().splitlines()
    assert score.endswith("/100")
    assert status.startswith("Status: ")
    assert "start" in issues, "a pipeline that was never started says so"


@check("Debug Logging")
async def debug_logging(sample: Sample, manager: UnifiedAgentManager) -> None:
    names = ["dating_show.services.update_pipeline", "dating_show.services.websocket_consumer"]
    try:
        await execute(sample)
        assert all(logging.getLogger(name).level == logging.DEBUG for name in names)
        assert logging.getLogger("django_update_pipeline.runtime.pipeline").isEnabledFor(logging.DEBUG)
    finally:
        for name in names:
            logging.getLogger(name).setLevel(logging.NOTSET)


@check("Circuit Breaker Configuration")
async def breaker_configuration(sample: Sample, manager: UnifiedAgentManager) -> None:
    breaker = (await execute(sample, UpdatePipeline=UpdatePipeline))["pipeline"].circuit_breaker
    for _ in range(9):
        breaker.record_failure()
    assert breaker.can_execute()
    breaker.record_failure()
    assert not breaker.can_execute()
    assert 59 < breaker.retry_after_s() <= 60


@check("Retry Logic")
async def retry_logic(sample: Sample, manager: UnifiedAgentManager) -> None:
    stated = (await execute(sample))["UpdateMessage"]
    ours = UpdateMessage.of("agent_001", "state_change", {})
    for name in stated.__annotations__:
        assert getattr(ours, name) == getattr(stated, name)


@check("Scaling Configuration")
async def scaling_configuration(sample: Sample, manager: UnifiedAgentManager) -> None:
    pipeline = (await execute(sample, UpdatePipeline=UpdatePipeline))["pipeline"]
    assert pipeline.batch_processor.policy.max_batch_size == 100
    assert pipeline.batch_processor.policy.windows_s()[UpdatePriority.NORMAL] == 0.025
    state = pipeline.circuit_breaker.get_state()
    assert (state["failure_threshold"], state["recovery_timeout"]) == (15, 120.0)


@check("Monitoring and Alerting")
async def monitoring(sample: Sample, manager: UnifiedAgentManager) -> None:
    alerts: list[str] = []
    get = update_pipeline.get_update_pipeline
    health_check = (await execute(sample, get_update_pipeline=get, send_alert=alerts.append))["health_check"]
    async with get() as pipeline:
        assert (await health_check())["health_status"] == "healthy"
        assert alerts == []
        pipeline.circuit_breaker.force_open("a test")
        await health_check()
        assert alerts
        pipeline.circuit_breaker.force_close()


@check("Debug Commands")
async def debug_commands(sample: Sample, manager: UnifiedAgentManager) -> None:
    pipeline = UpdatePipeline()
    pipeline.circuit_breaker.metrics.state = CircuitState.OPEN
    for priority in UpdatePriority:
        pipeline.queue_agent_update(agent_id="agent_001", update_type="said", data={}, priority=priority)
    await execute(sample, pipeline=pipeline, CircuitState=CircuitState)
    assert pipeline.circuit_breaker.can_execute()
    assert pipeline.circuit_breaker.metrics.failure_count == 0
    assert sum(pipeline.batch_processor.get_pending_count().values()) == 0
    assert pipeline.get_performance_metrics()["cleared"] == 4


@check("Unit Tests")
async def unit_tests(sample: Sample, manager: UnifiedAgentManager) -> None:
    await (await execute(sample))["test_update_pipeline_basic"]()


@check("Integration Tests")
async def integration_tests(sample: Sample, manager: UnifiedAgentManager) -> None:
    """What its comments ask for is done beside it: a change arrives while the pipeline of the sample runs."""
    manager.register_agent("agent_001", "Ava Stone")
    screen = Screen()
    stop = UpdatePipeline.stop

    async def stop_later(self: UpdatePipeline, *arguments: Any) -> Any:
        await self.register_websocket("ws_1", screen)
        manager.update_agent_state("agent_001", {"location": "pool"}, batch_mode=False)
        await eventually(lambda: any('"current_location":"pool"' in text for text in screen.texts))
        return await stop(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UpdatePipeline, "stop", stop_later)
        await (await execute(sample, pytest=pytest))["test_unified_manager_integration"]()
    assert screen.texts


@check("Load Testing")
async def load_testing(sample: Sample, manager: UnifiedAgentManager) -> None:
    space = await execute(
        sample, get_update_pipeline=update_pipeline.get_update_pipeline, UpdatePriority=UpdatePriority
    )
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        await space["load_test"]()
    assert "Processed 1000 updates in" in printed.getvalue()
    metrics = update_pipeline.get_update_pipeline().get_performance_metrics()
    assert metrics["successful_updates"] == 1000
