"""A deployment swaps any part by settings alone; what is wrong with a plugin is a system check with a hint."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from django_update_pipeline import CircuitState, hookimpl, service
from django_update_pipeline.assembly import build_pipeline
from django_update_pipeline.checks import check_settings
from django_update_pipeline.core.batching import AdaptiveBatching
from django_update_pipeline.core.circuit_breaker import CircuitBreaker
from django_update_pipeline.core.config import PipelineConfig, config_from_mapping
from django_update_pipeline.exceptions import ConfigurationError, PluginError
from django_update_pipeline.plugins.manager import Plugins
from django_update_pipeline.testing import FaultyTransport, RecordingSocket, RecordingTransport

CALLS: list[str] = []


class Source:
    name = "own source"

    def start(self, pipeline: Any) -> None:
        pipeline.queue_agent_update("sourced", "state_change", {"from": "source"})

    def stop(self) -> None:
        CALLS.append("source stopped")


class Transformer:
    name = "own transformer"

    def transform(self, agent_id: str, update_type: str, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "transformed": True}


class Transport(FaultyTransport):
    name = "own transport"


class Batching(AdaptiveBatching):
    def limit(self) -> int:
        CALLS.append("batching asked")
        return 1


class Breaker(CircuitBreaker):
    def record_success(self) -> None:
        CALLS.append("breaker told")
        super().record_success()


class Retry:
    def delay_s(self, retry_count: int) -> float:
        CALLS.append(f"retry {retry_count}")
        return 0.0


class Router:
    def route(self, agent_id: str, update_type: str) -> tuple[str, ...]:
        return ("routed",)


class Check:
    name = "own check"

    def check(self) -> str | None:
        return "the pool is too cold: heat it"


class Everything:
    """Every kind of part, and every notice."""

    @hookimpl
    def provide_sources(self, config: Any) -> list[Any]:
        return [Source()]

    @hookimpl
    def provide_transformers(self, config: Any) -> list[Any]:
        return [Transformer()]

    @hookimpl
    def provide_transport(self, config: Any) -> Any:
        return Transport() if config.transport == "own" else None

    @hookimpl
    def provide_batching_policy(self, config: Any) -> Any:
        return Batching(config.batching)

    @hookimpl
    def provide_circuit_breaker(self, config: Any) -> Any:
        import time

        return Breaker(monotonic=time.monotonic, random=lambda: 0.0)

    @hookimpl
    def provide_retry_policy(self, config: Any) -> Any:
        return Retry()

    @hookimpl
    def provide_router(self, config: Any) -> Any:
        return Router()

    @hookimpl
    def provide_frontend_adapter(self, config: Any) -> Any:
        return "own adapter"

    @hookimpl
    def provide_health_checks(self, config: Any) -> list[Any]:
        return [Check()]

    @hookimpl
    def observe_started(self, pipeline: Any) -> None:
        CALLS.append("started")

    @hookimpl
    def observe_stopped(self, report: Any) -> None:
        CALLS.append(f"stopped {report.delivered}")

    @hookimpl
    def observe_batch_delivered(self, size: int) -> None:
        CALLS.append(f"batch {size}")

    @hookimpl
    def observe_dead_lettered(self, update: Any, reason: str) -> None:
        CALLS.append(f"dead {update.agent_id} {reason}")

    @hookimpl
    def observe_breaker_changed(self, change: Any) -> None:
        CALLS.append(f"breaker {change.after.value}")

    @hookimpl
    def observe_connection_opened(self, connection_id: str) -> None:
        CALLS.append(f"opened {connection_id}")

    @hookimpl
    def observe_connection_closed(self, connection_id: str) -> None:
        CALLS.append(f"closed {connection_id}")


class Failing:
    """Each notice raises, also what no `except Exception` catches."""

    @hookimpl
    def observe_started(self) -> None:
        raise RuntimeError("broken observer")

    @hookimpl
    def observe_batch_delivered(self) -> None:
        raise asyncio.CancelledError

    @hookimpl
    def observe_dead_lettered(self) -> None:
        raise SystemExit(1)

    @hookimpl
    def observe_connection_opened(self) -> None:
        raise GeneratorExit


@pytest.fixture(autouse=True)
def _forget_calls() -> Iterator[None]:
    CALLS.clear()
    yield
    service.reset_update_pipeline()


async def test_every_kind_of_part_is_swapped_by_settings_alone(pipeline: Any) -> None:
    running = pipeline(TRANSPORT="own", PLUGINS=[f"{__name__}.Everything"], RETRY={"max_retries": 1})
    await running.start()
    socket = RecordingSocket()
    await running.register_websocket("one", socket, ["routed"])
    await socket.until(lambda: "sourced" in socket.states)
    assert socket.states["sourced"] == {"from": "source", "transformed": True}
    assert running.transport.name == "own transport"
    assert isinstance(running.circuit_breaker, Breaker)
    assert running.frontend_adapter == "own adapter"
    assert "the pool is too cold: heat it" in str(running.get_health_status()["issues"])
    running.transport.reject(lambda change: change.agent_id == "bad")
    running.queue_agent_update("bad", "said", {})
    async with asyncio.timeout(5):
        while not running.dead_letters.list():  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.001)
    running.circuit_breaker.metrics.state = CircuitState.OPEN
    running.reset_circuit_breaker()
    await running.stop()
    for call in (
        "started",
        "batching asked",
        "breaker told",
        "batch 1",
        "retry 0",
        "dead bad rejected",
        "breaker open",
        "breaker closed",
        "opened one",
        "closed one",
        "source stopped",
        "stopped 1",
    ):
        assert call in CALLS, (call, CALLS)


async def test_without_a_plugin_each_part_is_the_built_in(pipeline: Any) -> None:
    running = pipeline()
    assert running.transport.name == "memory"
    assert type(running.batch_processor.policy) is AdaptiveBatching
    assert type(running.circuit_breaker) is CircuitBreaker


async def test_observers_that_fail_are_isolated_and_counted(pipeline: Any) -> None:
    running = pipeline(PLUGINS=[f"{__name__}.Failing", f"{__name__}.Everything"], TRANSPORT="own")
    await running.start()
    socket = RecordingSocket()
    assert await running.register_websocket("one", socket, ["routed"])
    await running.publish("a", "said", {"n": 1})
    await socket.until(lambda: len(socket.events) == 1)
    await running.publish("a", "said", {"n": 2})
    assert running.is_running
    assert {"started", "opened one", "batch 1"} <= set(CALLS), "those of other plugins are told"
    assert running.plugins.failures[f"{__name__}.Failing"] >= 3


# how plugins are found


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs a distribution with an entry point, for one test."""
    count = 0

    def install(source: str) -> str:
        nonlocal count
        count += 1
        module = f"villa_plugin_{count}"
        folder = tmp_path / str(count)
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[django_update_pipeline]\nvilla = {module}\n")
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        return module

    yield install
    for number in range(1, count + 1):
        sys.modules.pop(f"villa_plugin_{number}", None)


OWN_ROUTER = """
from django_update_pipeline import hookimpl

class Router:
    def route(self, agent_id, update_type):
        return ("{channel}",)

@hookimpl
def provide_router(config):
    return Router()
"""


async def test_an_installed_distribution_offers_parts_by_its_entry_point(distribution: Any) -> None:
    module = distribution(OWN_ROUTER.format(channel="from_entry_point"))
    pipeline = build_pipeline(PipelineConfig())
    async with pipeline:
        await pipeline.publish("a", "said", {})
    assert pipeline.store.channel("from_entry_point").event_count == 1
    assert any(module in name or name == "villa" for name in pipeline.plugins.names())
    off = build_pipeline(PipelineConfig(entry_points=False))
    assert off.parts.router is None


async def test_the_settings_own_plugins_go_before_installed_ones(
    distribution: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(OWN_ROUTER.format(channel="from_entry_point"))
    (tmp_path / "villa_settings_plugin.py").write_text(OWN_ROUTER.format(channel="from_settings"))
    monkeypatch.syspath_prepend(str(tmp_path))
    pipeline = build_pipeline(PipelineConfig(plugins=("villa_settings_plugin",)))
    async with pipeline:
        await pipeline.publish("a", "said", {})
    assert pipeline.store.channel("from_settings").event_count == 1
    sys.modules.pop("villa_settings_plugin")


# what is wrong, and how it is told


class Misspelt:
    @hookimpl
    def provide_transport_(self, config: Any) -> None: ...


class WrongArgument:
    @hookimpl
    def provide_router(self, configuration: Any) -> None: ...


class Raises:
    @hookimpl
    def provide_router(self, config: Any) -> Any:
        raise RuntimeError("no router today")


def returning(hook: str, value: Any) -> object:
    """A plugin whose hook returns a wrong part."""

    def function(config: Any) -> Any:
        return value

    function.__name__ = hook
    return type("Returning", (), {hook: staticmethod(hookimpl(function))})()


class NotConstructible:
    def __init__(self) -> None:
        raise ValueError("needs a database")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (f"{__name__}.Misspelt", "provide_transport_"),
        (f"{__name__}.WrongArgument", "configuration"),
        (f"{__name__}.Raises", "no router today"),
        (f"{__name__}.NotConstructible", "needs a database"),
        (f"{__name__}.Nothing", "Nothing"),
        ("no.such.module", "no.such.module"),
        ("nothing_here", "nothing_here"),
        ("", "''"),
    ],
)
def test_a_plugin_that_can_not_be_used_is_an_error_and_a_system_check(
    settings: Any, name: str, text: str
) -> None:
    settings.UPDATE_PIPELINE = {"TRANSPORT": "memory", "PLUGINS": [name]}
    with pytest.raises(PluginError) as caught:
        service.get_update_pipeline()
    assert text in str(caught.value)
    (message,) = check_settings(None)
    assert message.id == "django_update_pipeline.E002"
    assert text in message.msg
    assert "PLUGINS" in str(message.hint)


WRONG_PARTS: list[tuple[str, Any]] = [
    ("provide_transport", "memory"),
    ("provide_transport", object()),
    ("provide_sources", Source()),
    ("provide_sources", [object()]),
    ("provide_sources", "source"),
    ("provide_transformers", [lambda data: data]),
    ("provide_batching_policy", object()),
    ("provide_circuit_breaker", object()),
    ("provide_retry_policy", 5),
    ("provide_router", lambda agent_id: ()),
    ("provide_health_checks", [object()]),
]


@pytest.mark.parametrize(
    ("hook", "value"), WRONG_PARTS, ids=[f"{h}-{n}" for n, (h, _) in enumerate(WRONG_PARTS)]
)
def test_a_part_that_is_none_is_told_by_its_hook(hook: str, value: Any) -> None:
    with pytest.raises(PluginError, match=hook):
        build_pipeline(PipelineConfig(), extra_plugins=[returning(hook, value)])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"TRANSPROT": "memory"}, "transprot"),
        ({"BATCHING": {"max_batch_size": 0}}, "batching.max_batch_size"),
        ({"BATCHING": {"max_size": 5}}, "max_size"),
        ({"CIRCUIT_BREAKER": {"failure_threshold": "5"}}, "circuit_breaker.failure_threshold"),
        ({"OPEN_CHANNELS": ["not a name"]}, "open_channels"),
        ({"PLUGINS": "one.name"}, "plugins"),
        ({"TRANSPORT": "smoke"}, "smoke"),
        ({5: 6}, "5"),
        ([], "not a dict"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_its_path(settings: Any, values: Any, text: str) -> None:
    settings.UPDATE_PIPELINE = values
    with pytest.raises(ConfigurationError):
        service.get_update_pipeline()
    (message,) = check_settings(None)
    assert message.id == "django_update_pipeline.E001"
    assert text in message.msg
    assert message.hint


def test_right_settings_have_no_complaints(settings: Any) -> None:
    settings.UPDATE_PIPELINE = {}
    assert [one for one in run_checks() if (one.id or "").startswith("django_update_pipeline")] == []


def test_a_wrong_origin_is_a_warning(settings: Any) -> None:
    settings.UPDATE_PIPELINE = {"TRANSPORT": "memory", "CONNECTIONS": {"allowed_origins": ["example.com"]}}
    (message,) = check_settings(None)
    assert message.id == "django_update_pipeline.W001"


def test_hooks_are_asked_once_at_assembly_and_not_for_updates() -> None:
    """pluggy is not on the hot path."""
    asked = 0

    class Counting:
        @hookimpl
        def provide_router(self, config: Any) -> Any:
            nonlocal asked
            asked += 1
            return Router()

    plugins = Plugins(extra=[Counting()])
    pipeline = build_pipeline(config_from_mapping({}), extra_plugins=[Counting()])
    for n in range(100):
        pipeline.queue_agent_update("a", "said", {"n": n})
    assert asked == 1
    assert plugins.names()[-1] == "django_update_pipeline.plugins.defaults", "ours is asked last"


def test_a_transport_of_ones_own_goes_by_its_name(settings: Any) -> None:
    class Own:
        @hookimpl
        def provide_transport(self, config: Any) -> Any:
            return RecordingTransport() if config.transport == "recording" else None

    pipeline = build_pipeline(config_from_mapping({"transport": "recording"}), extra_plugins=[Own()])
    assert pipeline.transport.name == "recording"
    assert json.loads(json.dumps(pipeline.get_performance_metrics()))["transport"] == "recording"
