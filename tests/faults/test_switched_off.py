"""A part that fails or blocks again and again is switched off, named with its mend, and can be switched on again."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_update_pipeline import CircuitState, UpdatePipeline, UpdatePriority, hookimpl
from django_update_pipeline.assembly import build_pipeline
from django_update_pipeline.core.commands import CommandError, checked_params
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.exceptions import PluginError
from django_update_pipeline.runtime.boundary import BLOCK_FORGOTTEN_S
from django_update_pipeline.runtime.operations import carry_out
from django_update_pipeline.testing import FaultyTransport, LoopClock, in_virtual_time

PLUGIN = f"{__name__}.Plugin"


class BlockedClock(LoopClock):
    """The loop's time, and what a part that blocks takes of it."""

    blocked_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        loop_time = self.monotonic
        self.monotonic = lambda: loop_time() + self.blocked_s

    def block(self, seconds: float) -> None:
        self.blocked_s += seconds


class Plugin:
    """Its one part is whatever the test hands in; it remembers which switches it was told of."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts
        self.switches: list[tuple[str, bool]] = []

    @hookimpl
    def provide_sources(self, config: Any) -> list[Any]:
        return list(self.parts.get("sources", []))

    @hookimpl
    def provide_router(self, config: Any) -> Any:
        return self.parts.get("router")

    @hookimpl
    def provide_batching_policy(self, config: Any) -> Any:
        return self.parts.get("batching")

    @hookimpl
    def provide_transformers(self, config: Any) -> list[Any]:
        return list(self.parts.get("transformers", []))

    @hookimpl
    def provide_circuit_breaker(self, config: Any) -> Any:
        return self.parts.get("breaker")

    @hookimpl
    def provide_retry_policy(self, config: Any) -> Any:
        return self.parts.get("retry")

    @hookimpl
    def provide_transport(self, config: Any) -> Any:
        return self.parts.get("transport") if config.transport == "own" else None

    @hookimpl
    def provide_health_checks(self, config: Any) -> list[Any]:
        return list(self.parts.get("checks", []))

    @hookimpl
    def observe_batch_delivered(self, size: int) -> None:
        self.parts.get("observe", lambda: None)()

    @hookimpl
    def observe_part_switched(self, plugin: str, part: str, is_on: bool, cause: str) -> None:
        assert plugin == PLUGIN
        assert bool(cause) is not is_on
        self.switches.append((part.partition(" ")[0], is_on))


class Switch:
    """A callable that fails, or blocks, while it is told to."""

    def __init__(self, answer: Callable[..., Any] = lambda *args: args[-1] if args else None) -> None:
        self.answer = answer
        self.error: BaseException | None = ValueError("broken")
        self.calls = 0
        self.before: Callable[[], None] = lambda: None

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        self.before()
        if self.error is not None:
            raise self.error
        return self.answer(*args)


class Transformer:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.transform = function


def made(clock: Any = None, **parts: Any) -> tuple[UpdatePipeline, Plugin]:
    settings = {
        "transport": "own" if "transport" in parts else "memory",
        "entry_points": False,
        "retry": {"base_delay_s": 0.01, "max_delay_s": 0.02},
        "containment": {"max_failures": 3, "max_blocks": 2, **parts.pop("containment", {})},
    }
    plugin = Plugin(**parts)
    return build_pipeline(
        config_from_mapping(settings), extra_plugins=[plugin], clock=clock or LoopClock()
    ), plugin


async def until(condition: Callable[[], Any], timeout_s: float = 600.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.01)


def off(pipeline: UpdatePipeline) -> list[str]:
    return [row["kind"] for row in pipeline.plugins.report() if row["is_off"]]


def issues(pipeline: UpdatePipeline, name: str) -> str:
    report = pipeline.get_health_status()
    return " ".join(report["issues"]) if name in report["deductions"] else ""


def states(pipeline: UpdatePipeline) -> dict[str, bytes]:
    return dict(pipeline.store.states("updates"))


# transformers and loads: nothing is sent past them, and nothing is lost


@pytest.mark.fault(
    "F13",
    "a transformer that fails for everybody is switched off: all waits, unspent, and nothing is sent past it",
)
@in_virtual_time
async def test_what_would_pass_a_broken_transformer_waits_and_comes_when_it_is_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    redact = Switch(lambda agent_id, update_type, data: {"n": data["n"]})
    pipeline, plugin = made(transformers=[Transformer(redact)], containment={"retry_after_s": 0})
    async with pipeline:
        for n in range(6):
            pipeline.queue_agent_update(f"a{n}", "state_change", {"n": n, "secret": 1})
            pipeline.queue_agent_update(f"a{n}", "said", {"n": n, "secret": 1})
        await until(lambda: off(pipeline) == ["transformer"])
        calls = redact.calls
        for n in range(6):
            pipeline.queue_agent_update(f"a{n}", "state_change", {"n": 10 + n, "secret": 1})
        await asyncio.sleep(100)
        assert redact.calls == calls, "off means off"
        assert states(pipeline) == {}
        assert not pipeline.dead_letters.list()
        text = issues(pipeline, "plugin_off")
        assert f"of plugin {PLUGIN} is switched off, because it failed 3 times in a row" in text
        assert f"enable_plugin {PLUGIN}" in text
        assert "is switched off" in caplog.text
        assert plugin.switches == [("transformer", False)]
        pipeline.queue_agent_update("gone", "state_removed", {})
        pipeline.queue_system_notification("Maintenance")
        await until(lambda: pipeline.get_performance_metrics()["delivered"] == 2)
        redact.error = None
        assert pipeline.enable_plugin(PLUGIN) == ["transformer Transformer"]
        await until(lambda: pipeline.get_performance_metrics()["pending"] == 0, 1.0)
        assert plugin.switches == [("transformer", False), ("transformer", True)]
        assert off(pipeline) == []
        assert not issues(pipeline, "plugin_off")
    assert states(pipeline) == {f"a{n}": b'{"n":%d}' % (10 + n) for n in range(6)}
    events = pipeline.store.channel("updates").events_between(0, pipeline.store.head)
    assert [event.data for event in events] == [b'{"n":%d}' % n for n in range(6)]
    assert not pipeline.dead_letters.list()


@in_virtual_time
async def test_a_transformer_that_is_off_is_tried_again_by_itself() -> None:
    part = Switch()
    pipeline, _ = made(transformers=[Transformer(part)], containment={"retry_after_s": 30})
    async with pipeline:
        for n in range(6):
            pipeline.queue_agent_update(f"a{n}", "state_change", {"n": n})
        await until(lambda: off(pipeline))
        calls = part.calls
        await asyncio.sleep(65)
        assert calls < part.calls <= calls + 12, "each half minute one batch"
        assert off(pipeline)
        part.error = None
        await until(lambda: pipeline.get_performance_metrics()["pending"] == 0, 31)
        assert off(pipeline) == []
    assert len(states(pipeline)) == 6


@pytest.mark.fault("F16", "one agent's poison neither switches a part off for the others nor holds them up")
@in_virtual_time
async def test_one_agents_poison_holds_up_nobody_else() -> None:
    def transform(agent_id: str, update_type: str, data: Any) -> Any:
        if agent_id == "poison":
            raise ValueError("poison")
        return data

    pipeline, _ = made(transformers=[Transformer(transform)])
    async with pipeline:
        for n in range(20):
            pipeline.queue_agent_update("poison", "said", {"n": n})
        await until(lambda: off(pipeline))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await pipeline.publish("good", "said", {"n": 1}, UpdatePriority.CRITICAL)
        assert loop.time() - began < 0.05
        assert off(pipeline) == [], "it works: it was the data"


@in_virtual_time
async def test_the_same_update_tried_again_is_one_failure() -> None:
    part = Switch()
    pipeline, _ = made(transformers=[Transformer(part)])
    async with pipeline:
        pipeline.queue_agent_update("a", "said", {})
        await until(lambda: pipeline.dead_letters.list())
        assert part.calls == 4
        assert off(pipeline) == []
        assert "fails (1 time(s) in a row): ValueError: broken" in issues(pipeline, "plugin_failing")
        part.error = None
        await pipeline.publish("b", "said", {})
        assert not issues(pipeline, "plugin_failing")


@in_virtual_time
async def test_a_load_that_is_off_makes_its_own_agents_wait_and_no_others() -> None:
    pipeline, _ = made()
    load = Switch(lambda agent_id: {"of": agent_id})
    async with pipeline:
        for n in range(6):
            pipeline.queue_agent_changed(f"a{n}", load)
        await until(lambda: off(pipeline) == ["load"])
        await pipeline.publish("other", "state_change", {"n": 1})
        load.error = None
        pipeline.enable_plugin(__name__)
        await until(lambda: pipeline.get_performance_metrics()["pending"] == 0, 1.0)
    assert states(pipeline)["a5"] == b'{"of":"a5"}'
    assert not pipeline.dead_letters.list()


@in_virtual_time
async def test_the_part_whose_answer_can_not_be_sent_is_the_one_that_made_it() -> None:
    pipeline, _ = made(
        transformers=[Transformer(lambda a, t, d: {"n": float("nan")}), Transformer(lambda a, t, d: dict(d))]
    )
    async with pipeline:
        pipeline.queue_agent_update("a", "said", {})
        await until(lambda: pipeline.dead_letters.list())
    assert [row["part"] for row in pipeline.plugins.report() if row["failures"]] == [
        "transformer Transformer"
    ]
    assert any(row["part"] == "transformer Transformer#2" for row in pipeline.plugins.report())


# the other parts


@in_virtual_time
async def test_an_observer_that_is_off_is_told_no_more() -> None:
    observe = Switch()
    pipeline, plugin = made(observe=observe)
    async with pipeline:
        for n in range(10):
            await pipeline.publish("a", "said", {"n": n})
            await asyncio.sleep(0.1)
        assert observe.calls == 3
        assert plugin.switches == [("observer", False)]
        observe.error = None
        assert pipeline.enable_plugin(PLUGIN) == ["observer observe_batch_delivered"]
        await pipeline.publish("a", "said", {})
        await until(lambda: observe.calls == 4)


@in_virtual_time
async def test_a_health_check_that_is_off_is_asked_no_more_and_said() -> None:
    class Check:
        name = "fridge"

    check: Any = Check()
    check.check = Switch()
    pipeline, _ = made(checks=[check])
    for _ in range(3):
        assert "fridge: the check itself failed: ValueError: broken" in issues(
            pipeline, "plugin_check_failed"
        )
    assert "health check fridge of plugin" in issues(pipeline, "plugin_off")
    assert not issues(pipeline, "plugin_check_failed")
    assert check.check.calls == 3


class Source:
    name = "radio"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.error: BaseException | None = None
        self.pipeline: Any = None

    def start(self, pipeline: Any) -> None:
        self.log.append("start")
        self.pipeline = pipeline
        if self.error is not None:
            raise self.error

    async def stop(self) -> None:
        self.log.append("stop")


@in_virtual_time
async def test_a_source_that_can_not_be_started_is_stopped_said_and_started_when_it_is_switched_on() -> None:
    source = Source()
    source.error = OSError("no antenna")
    pipeline, _ = made(sources=[source])
    async with pipeline:
        assert source.log == ["start", "stop"]
        assert "it could not be started: OSError: no antenna" in issues(pipeline, "plugin_off")
        source.error = None
        pipeline.enable_plugin(PLUGIN)
        await until(lambda: source.log == ["start", "stop", "start"])
        assert not issues(pipeline, "plugin_off")
    assert source.log == ["start", "stop", "start", "stop"]
    async with pipeline:
        assert source.log[-1] == "start"


@in_virtual_time
async def test_a_source_whose_changes_fail_is_stopped() -> None:
    source = Source()
    pipeline, _ = made(sources=[source])
    async with pipeline:
        for n in range(3):
            pipeline.source_failed(source, KeyError("state"), f"a{n}")
        await until(lambda: source.log == ["start", "stop"])
        assert off(pipeline) == ["source"]
    assert source.log == ["start", "stop"], "once"
    async with pipeline:  # a new start is a new chance
        assert off(pipeline) == []
        pipeline.source_failed(source, KeyError("state"), "a")
        pipeline.source_passed(source)
        pipeline.source_failed(source, KeyError("state"), "a")
        pipeline.source_failed(source, KeyError("state"), "a")
        assert off(pipeline) == []


@in_virtual_time
async def test_the_built_in_breaker_takes_over_and_gives_back() -> None:
    class Breaker:
        def __init__(self) -> None:
            self.is_broken = True

        def _answer(self) -> Any:
            if self.is_broken:
                raise RuntimeError("broken breaker")
            return True

        can_execute = record_success = record_failure = release = _answer

        def retry_after_s(self) -> float:
            return 0.0

        def get_state(self) -> dict[str, Any]:
            return {"state": "closed"}

    breaker = Breaker()
    transport = FaultyTransport()
    pipeline, _ = made(breaker=breaker, transport=transport)
    async with pipeline:
        await pipeline.publish("a", "said", {})
        await pipeline.publish("a", "said", {})
        assert off(pipeline) == ["circuit breaker"]
        transport.begin_outage()
        pipeline.queue_agent_update("a", "said", {})
        await until(lambda: pipeline.get_health_status()["deductions"].get("breaker_open"))
        assert pipeline.circuit_breaker.state is CircuitState.OPEN, "the built-in one is in charge"
        transport.end_outage()
        pipeline.reset_circuit_breaker()
        await until(lambda: pipeline.get_performance_metrics()["pending"] == 0)
        breaker.is_broken = False
        pipeline.enable_plugin(PLUGIN)
        assert pipeline.circuit_breaker is breaker
        await pipeline.publish("a", "said", {})
        assert off(pipeline) == []


@in_virtual_time
async def test_a_router_is_never_off_for_failing_and_never_replaced_by_the_default_channel() -> None:
    class Router:
        def route(self, agent_id: str, update_type: str) -> tuple[str, ...]:
            if agent_id.startswith("odd"):
                raise KeyError(agent_id)
            return ("private",)

    pipeline, _ = made(router=Router())
    async with pipeline:
        for n in range(20):
            pipeline.queue_agent_update(f"odd{n}", "said", {})
        await pipeline.publish("even", "said", {})
        assert off(pipeline) == []
    assert pipeline.store.channel("updates").event_count == 0
    assert pipeline.store.channel("private").event_count == 1
    assert {letter.reason for letter in pipeline.dead_letters.list()} == {"router_failed"}


# blocking


@pytest.mark.fault(
    "F9",
    "a synchronous part that blocks the loop is named while it does, and switched off when it did so too often",
)
@in_virtual_time
async def test_a_part_that_blocks_is_named_while_it_does_and_switched_off_when_it_returns() -> None:
    clock = BlockedClock()
    seen: list[str] = []
    part = Switch()
    part.error = None

    def block() -> None:
        clock.block(1.5)
        # A thread can look while the loop can't; here the part itself hands over to one.
        looker = threading.Thread(target=lambda: seen.extend(pipeline.containment.blocking()))
        looker.start()
        looker.join()

    part.before = block
    pipeline, plugin = made(clock, transformers=[Transformer(part)])
    async with pipeline:
        await pipeline.publish("a", "said", {"n": 1})
        assert off(pipeline) == []
        pipeline.queue_agent_update("a", "said", {"n": 2})
        await until(lambda: off(pipeline) == ["transformer"])
        assert "it blocked the event loop 2 times for more than 1 s" in issues(pipeline, "plugin_off")
        calls = part.calls
        pipeline.queue_agent_update("a", "said", {"n": 3})
        await asyncio.sleep(200)
        assert part.calls == calls, "a part that blocks is not tried again by itself"
        part.before = lambda: None
        pipeline.enable_plugin(PLUGIN)
        await until(lambda: pipeline.get_performance_metrics()["pending"] == 0)
    assert plugin.switches == [("transformer", False), ("transformer", True)]
    assert len(seen) == 2
    assert f"transformer Transformer of plugin {PLUGIN} has held the event loop for 1.5 s" in seen[0]


@in_virtual_time
async def test_an_asynchronous_part_that_blocks_in_one_of_its_steps_is_named_too() -> None:
    clock = BlockedClock()

    async def transform(agent_id: str, update_type: str, data: Any) -> Any:
        await asyncio.sleep(1.0)  # that is waiting, and blocks nobody
        clock.block(2.0)
        return data

    pipeline, _ = made(clock, transformers=[Transformer(transform)])
    async with pipeline:
        await pipeline.publish("a", "said", {"n": 1})
        (row,) = [row for row in pipeline.plugins.report() if row["blocks"]]
        assert row["kind"] == "transformer"
        assert row["longest_block_s"] == pytest.approx(2.0)
        call = pipeline.blame.worst_since(clock.monotonic() - 60)
        assert call is not None
        assert call.plugin == PLUGIN


@in_virtual_time
async def test_in_another_thread_a_part_blocks_its_own_caller_only() -> None:
    clock = BlockedClock()

    class Router:
        def route(self, agent_id: str, update_type: str) -> None:
            clock.block(5.0)

    pipeline, _ = made(clock, router=Router())
    async with pipeline:
        await asyncio.to_thread(lambda: None)
        boundary = next(one for one in pipeline.containment.boundaries() if one.kind.name == "router")
        pipeline.containment.loop_thread = -1  # as another thread would see it
        for _ in range(5):
            await pipeline.publish("a", "said", {})
        assert boundary.block_count == 0
        assert not boundary.is_off


@in_virtual_time
async def test_blocks_long_ago_count_no_more() -> None:
    """A machine that is overloaded now and then switches no good part off in the course of a year."""
    clock = BlockedClock()

    class Router:
        def route(self, agent_id: str, update_type: str) -> None:
            clock.block(5.0)

    pipeline, _ = made(clock, router=Router())
    async with pipeline:
        boundary = next(one for one in pipeline.containment.boundaries() if one.kind.name == "router")
        for _ in range(3):
            await pipeline.publish("a", "said", {})
            assert (boundary.block_count, boundary.is_off) == (1, False)
            clock.block(BLOCK_FORGOTTEN_S)
        await pipeline.publish("a", "said", {})
        await pipeline.publish("a", "said", {})
        assert boundary.is_off


# switching on


@in_virtual_time
async def test_an_unknown_plugin_is_told_with_those_there_are() -> None:
    pipeline, _ = made()
    with pytest.raises(PluginError, match=r"there is no plugin 'shop'.*test_switched_off.Plugin"):
        pipeline.enable_plugin("shop")
    assert pipeline.enable_plugin(PLUGIN) == [], "none of its parts is off"
    bare = UpdatePipeline()
    with pytest.raises(PluginError, match="there is no plugin 'shop'"):
        bare.enable_plugin("shop")


@in_virtual_time
async def test_failures_are_told_in_one_line_with_the_place_and_the_traceback_at_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    part = Switch()
    part.error = ValueError("first\nERROR forged \x1b[31m" + "x" * 1000)
    pipeline, _ = made(transformers=[Transformer(part)], containment={"max_failures": 0})
    async with pipeline:
        for n in range(20):
            pipeline.queue_agent_update(f"a{n}", "said", {})
        await until(lambda: pipeline.get_performance_metrics()["pending"] == 0)
    told = [
        r
        for r in caplog.records
        if r.getMessage().startswith("transformer ") and r.levelno == logging.WARNING
    ]
    assert len(told) == 7, "80 failures: the 1st, 2nd, 4th ... 64th"
    for record in told:
        text = record.getMessage()
        assert "\n" not in text
        assert "\x1b" not in text
        assert "test_switched_off.py:" in text
        assert "in __call__" in text
        assert record.exc_info is None
        assert len(text) < 1000
    traced = [r for r in caplog.records if r.exc_info and r.levelno == logging.DEBUG]
    assert len(traced) == 7


@in_virtual_time
async def test_operators_see_what_is_off_and_switch_it_on() -> None:
    part = Switch()
    pipeline, _ = made(transformers=[Transformer(part)])
    async with pipeline:
        for n in range(4):
            pipeline.queue_agent_update(f"a{n}", "said", {})
        await until(lambda: off(pipeline))
        listed = carry_out(pipeline, "get_plugins", checked_params("get_plugins", None), by="me")
        (row,) = [row for row in listed["parts"] if row["is_off"]]
        assert (row["kind"], row["plugin"], row["failures"]) == ("transformer", PLUGIN, 3)
        assert "ValueError: broken" in row["off_because"]
        part.error = None
        params = checked_params("enable_plugin", {"name": PLUGIN})
        answer = carry_out(pipeline, "enable_plugin", params, by="me")
        assert answer == {"name": PLUGIN, "enabled": ["transformer Transformer"]}
        with pytest.raises(CommandError, match="there is no plugin 'shop'"):
            carry_out(pipeline, "enable_plugin", checked_params("enable_plugin", {"name": "shop"}), by="me")
        await until(lambda: pipeline.get_performance_metrics()["pending"] == 0, 1.0)
