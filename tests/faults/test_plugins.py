"""F13 to F15: each part of a plugin misbehaves in each way, and only what it was asked about suffers.

One pipeline has two plugins: the one that misbehaves, for one agent or always, and the villa's own observer. While
it misbehaves other agents' updates are delivered, CRITICAL ones in the time that is promised; the loop lives, the
account balances, and the health report and the log name the plugin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from django_update_pipeline import UpdatePipeline, UpdatePriority, hookimpl
from django_update_pipeline.assembly import build_pipeline
from django_update_pipeline.core.account import TERMS
from django_update_pipeline.core.batching import AdaptiveBatching
from django_update_pipeline.core.circuit_breaker import CircuitBreaker
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.testing import LoopClock, RecordingSocket, in_virtual_time
from django_update_pipeline.transports.memory import MemoryTransport

Do = Callable[[], Any]
BAD, GOOD = "bad", "good"


class Misbehaving:
    """A plugin whose one part does `what` each time it is asked; elsewhere, and for other agents, it is well."""

    def __init__(self, part: str, what: Do) -> None:
        self.part = part
        self.what = what
        self.asked = 0

    def now(self, part: str, otherwise: Any, agent_id: str = BAD) -> Any:
        if part != self.part or agent_id != BAD:
            return otherwise
        self.asked += 1
        return self.what()

    @hookimpl
    def provide_sources(self, config: Any) -> list[Any]:
        plugin = self

        class Source:
            name = "bad source"

            def start(self, pipeline: Any) -> Any:
                return plugin.now("source.start", None)

            def stop(self) -> Any:
                return plugin.now("source.stop", None)

        return [Source()]

    @hookimpl
    def provide_router(self, config: Any) -> Any:
        plugin = self

        class Router:
            def route(self, agent_id: str, update_type: str) -> Any:
                return plugin.now("router", None, agent_id)

        return Router() if self.part == "router" else None

    @hookimpl
    def provide_transformers(self, config: Any) -> list[Any]:
        plugin = self

        class Transformer:
            def transform(self, agent_id: str, update_type: str, data: Any) -> Any:
                return plugin.now("transformer", data, agent_id)

        return [Transformer()]

    @hookimpl
    def provide_batching_policy(self, config: Any) -> Any:
        plugin = self

        class Batching(AdaptiveBatching):
            def windows_s(self) -> Any:
                return plugin.now("batching", super().windows_s())

            def due_at(self, priority: Any, now: float) -> Any:
                return plugin.now("batching", super().due_at(priority, now))

            def limit(self) -> Any:
                return plugin.now("batching", super().limit())

            def flushed(self, classes: Any, now: float) -> Any:
                return plugin.now("batching", super().flushed(classes, now))

            def measured(self, size: int, duration_s: float, is_behind: bool = False) -> Any:
                return plugin.now("batching", super().measured(size, duration_s, is_behind))

        return Batching(config.batching) if self.part == "batching" else None

    @hookimpl
    def provide_circuit_breaker(self, config: Any) -> Any:
        plugin = self

        class Breaker(CircuitBreaker):
            def can_execute(self) -> Any:
                return plugin.now("breaker", super().can_execute())

            def record_success(self) -> Any:
                return plugin.now("breaker", super().record_success())

            def get_state(self) -> Any:
                return plugin.now("breaker", super().get_state())

        return (
            Breaker(monotonic=LoopClock().monotonic, random=lambda: 0.5) if self.part == "breaker" else None
        )

    @hookimpl
    def provide_retry_policy(self, config: Any) -> Any:
        plugin = self

        class Retry:
            def delay_s(self, retry_count: int) -> Any:
                return plugin.now("retry", 0.01)

        return Retry() if self.part == "retry" else None

    @hookimpl
    def provide_transport(self, config: Any) -> Any:
        plugin = self

        class Transport(MemoryTransport):
            name = "bad transport"

            async def publish(self, publication: Any) -> None:
                if any(change.agent_id == BAD for change in publication.changes):
                    answer = plugin.now("transport", None)
                    if answer is not None:
                        await answer
                await super().publish(publication)

        return Transport() if config.transport == "bad" else None

    @hookimpl
    def provide_health_checks(self, config: Any) -> list[Any]:
        plugin = self

        class Check:
            name = "bad check"

            def check(self) -> Any:
                return plugin.now("check", None)

        return [Check()]

    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str) -> Any:
        return self.now("authorize", True)

    @hookimpl
    def observe_started(self) -> Any:
        return self.now("observer", None)

    @hookimpl
    def observe_batch_delivered(self) -> Any:
        return self.now("observer", None)

    @hookimpl
    def observe_dead_lettered(self) -> Any:
        return self.now("observer", None)

    @hookimpl
    def observe_connection_opened(self) -> Any:
        return self.now("observer", None)


def raises(error: BaseException) -> Do:
    def what() -> Any:
        raise error

    return what


async def _later(value: Any = None) -> Any:
    await asyncio.sleep(0)
    return value


async def _hangs() -> None:
    await asyncio.Event().wait()


async def _ignores_cancellation() -> None:
    for _ in range(1000):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


PARTS = [
    "source.start",
    "source.stop",
    "router",
    "transformer",
    "batching",
    "breaker",
    "retry",
    "transport",
    "check",
    "observer",
]
RAISED = [
    ValueError("broken"),
    SystemExit(3),
    GeneratorExit(),
    asyncio.CancelledError("of its own"),
    RecursionError(),
    MemoryError(),
    StopIteration(),
    StopAsyncIteration(),
    TimeoutError(),
]
#: What is no answer of any part that must give one, and what an observer or source may not answer either.
RUBBISH: dict[str, Do] = {
    "an object": object,
    "NaN": lambda: float("nan"),
    "a coroutine": _later,
    "text with a line break": lambda: "no\nERROR forged",
    "a huge number": lambda: 10**400,
}
#: Nothing is expected of these, so what they return is nobody's business, coroutines excepted.
MAY_RETURN_ANYTHING = {"source.start", "source.stop", "observer", "transport"}


def made(part: str, what: Do, **config: Any) -> tuple[UpdatePipeline, Misbehaving]:
    plugin = Misbehaving(part, what)
    settings = {
        "transport": "bad" if part == "transport" else "memory",
        "entry_points": False,
        "retry": {"max_retries": 1, "base_delay_s": 0.01, "max_delay_s": 0.02},
        "connections": {"hook_timeout_s": 0.5},
        "transport_timeout_s": 0.5,
        **config,
    }
    return build_pipeline(config_from_mapping(settings), extra_plugins=[plugin], clock=LoopClock()), plugin


def balanced(pipeline: UpdatePipeline) -> dict[str, int]:
    rows: dict[str, dict[str, int]] = pipeline.get_performance_metrics()["conservation"]
    for row in rows.values():
        assert row["accepted"] == sum(row[term] for term in TERMS if term != "accepted"), rows
    return rows["total"]


async def others_are_delivered(pipeline: UpdatePipeline, part: str, count: int = 30) -> None:
    """Each other agent's CRITICAL update is acknowledged in the time that is promised, on a virtual clock."""
    loop = asyncio.get_running_loop()
    # A transport serves everybody, so its failures hold up everybody: for seconds, and nobody is lost.
    limit = 30.0 if part == "transport" else 0.05
    for n in range(count):
        if n % 3 == 0:
            pipeline.queue_agent_update(BAD, "said", {"n": n})
            pipeline.queue_agent_update(BAD, "state_change", {"n": n})
        began = loop.time()
        async with asyncio.timeout(60):
            await pipeline.publish(f"{GOOD}_{n % 5}", "said", {"n": n}, UpdatePriority.CRITICAL)
        assert loop.time() - began < limit, f"held up for {loop.time() - began} s"
        balanced(pipeline)


async def observed(part: str, what: Do, **config: Any) -> UpdatePipeline:
    """Runs a pipeline with a part that does `what`, and holds what is promised. Returns it, stopped."""
    pipeline, plugin = made(part, what, **config)
    socket = RecordingSocket()
    async with asyncio.timeout(600):
        await pipeline.start()
        assert await pipeline.register_websocket("one", socket)
        await others_are_delivered(pipeline, part)
        pipeline.queue_agent_update("fails", "said", {"x": 1}) if part == "retry" else None
        pipeline.get_health_status()
        assert pipeline.is_running
        await socket.until(lambda: len([e for e in socket.events if e["agent_id"] != BAD]) >= 30)
        report = await pipeline.stop()
    assert (
        report.accepted
        == report.delivered + report.conflated + report.dead_lettered + report.cleared + report.pending
    )
    if part != "retry":
        assert plugin.asked
    return pipeline


def named(pipeline: UpdatePipeline) -> bool:
    return pipeline.plugins.failures.get(f"{__name__}.Misbehaving", 0) > 0


@pytest.mark.fault(
    "F13", "whatever a part raises, only what it was asked about suffers, and the plugin is named"
)
@pytest.mark.parametrize("error", RAISED, ids=[type(one).__name__ for one in RAISED])
@pytest.mark.parametrize("part", PARTS)
@in_virtual_time
async def test_a_part_that_raises(part: str, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = await observed(part, raises(error))
    if part != "retry":
        assert named(pipeline)
        assert "Misbehaving" in caplog.text
        assert type(error).__name__ in caplog.text
    assert all(len(r.getMessage().splitlines()) == 1 for r in caplog.records if r.levelno > logging.DEBUG)


@pytest.mark.fault("F15", "a part that returns rubbish is contained like one that raises")
@pytest.mark.parametrize("rubbish", list(RUBBISH))
@pytest.mark.parametrize("part", [part for part in PARTS if part not in MAY_RETURN_ANYTHING])
@in_virtual_time
async def test_a_part_that_returns_rubbish(part: str, rubbish: str, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = await observed(part, RUBBISH[rubbish])
    is_an_answer = (part, rubbish) in {("transformer", "a coroutine"), ("check", "text with a line break")}
    if part != "retry" and not is_an_answer:
        assert named(pipeline), pipeline.plugins.report()
    assert all(len(r.getMessage().splitlines()) == 1 for r in caplog.records if r.levelno > logging.DEBUG)


HANGING: dict[str, Do] = {"hangs": _hangs, "hangs and ignores its cancellation": _ignores_cancellation}


@pytest.mark.fault(
    "F14", "an asynchronous part that hangs meets its timeout, and other agents' updates do not wait for it"
)
@pytest.mark.parametrize("how", list(HANGING))
@pytest.mark.parametrize("part", ["source.start", "source.stop", "transformer", "transport"])
@in_virtual_time
async def test_a_part_that_hangs(part: str, how: str) -> None:
    if part == "transport" and how != "hangs":
        return await a_transport_that_never_ends_is_down()
    pipeline = await observed(part, HANGING[how], stop_timeout_s=5.0)
    assert named(pipeline)
    (row,) = [row for row in pipeline.plugins.report() if row["failures"]]
    assert "no answer within" in row["last_error"] or "hang and ignore" in row["last_error"]
    await end_the_stubborn()


async def a_transport_that_never_ends_is_down() -> None:
    """What it still does with the publication nobody knows, so it is given no other one: an outage, told as one."""
    pipeline, plugin = made("transport", _ignores_cancellation)
    await pipeline.start()
    pipeline.queue_agent_update(BAD, "said", {})
    async with asyncio.timeout(60):
        while pipeline.circuit_breaker.state.value != "open":  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.1)
    pipeline.queue_agent_update(GOOD, "said", {})
    issues = str(pipeline.get_health_status()["issues"])
    assert "transport bad transport of plugin" in issues
    assert "hang and ignore their cancellation" in issues
    assert plugin.asked == 1
    report = await pipeline.stop(1.0)
    assert (report.pending, report.in_time) == (2, False)
    await end_the_stubborn()


async def end_the_stubborn() -> None:
    """Calls that ignore their cancellation end with the test."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        for _ in range(2000):
            task.cancel()
            await asyncio.sleep(0)
            if task.done():
                break


@pytest.mark.fault("F14", "a load that hangs holds up its own agent only")
@pytest.mark.parametrize("how", list(HANGING))
@in_virtual_time
async def test_a_load_that_hangs(how: str) -> None:
    pipeline, _ = made("none", object)

    async def load(agent_id: str) -> Any:
        await HANGING[how]()

    async with pipeline:
        pipeline.queue_agent_changed("loaded", load)  # type: ignore[arg-type]
        await others_are_delivered(pipeline, "load")
        async with asyncio.timeout(60):
            while not pipeline.dead_letters.list():  # noqa: ASYNC110 - looking is the test
                await asyncio.sleep(0.1)
    assert [letter.agent_id for letter in pipeline.dead_letters.list()] == ["loaded"]
    await end_the_stubborn()


@pytest.mark.fault("F15", "a part that changes what it is given changes nobody else's")
async def test_a_part_that_changes_its_input() -> None:
    seen: list[Any] = []

    class Vandal:
        @hookimpl
        def provide_transformers(self, config: Any) -> list[Any]:
            class Transformer:
                def transform(self, agent_id: str, update_type: str, data: Any) -> Any:
                    data["nested"].clear()
                    data["more"] = 1
                    return {"nested": {"n": 1}}

            return [Transformer()]

        @hookimpl
        def observe_dead_lettered(self, update: Any) -> None:
            update.payload = b"forged"
            update.channels = ("elsewhere",)

        @hookimpl
        def authorize_action(self, params: Any) -> bool:
            params["amount"] = 10**6
            return True

    class Teller:
        @hookimpl
        def handle_action(self, params: Any) -> bool:
            seen.append(params)
            return True

    config = config_from_mapping(
        {"entry_points": False, "queue": {"max_events": 1, "overflow": "drop_oldest"}}
    )
    pipeline = build_pipeline(config, extra_plugins=[Vandal(), Teller()])
    data = {"nested": {"n": 0}}
    pipeline.queue_agent_update("old", "said", data)
    pipeline.queue_agent_update("new", "said", data)
    async with pipeline:
        await pipeline.publish("a", "state_change", data)
        params = {"amount": 1}
        client: Any = object()
        assert await pipeline.access.may_act(client, "a", "pay", params)
        assert await pipeline.access.act(client, "a", "pay", params)
    assert data == {"nested": {"n": 0}}
    assert seen == [{"amount": 1}]
    (letter,) = pipeline.dead_letters.list()
    assert (letter.payload, letter.channels) == (b'{"nested":{"n":0}}', ("updates",))


class Recursive:
    """Each part queues an update, or causes what it is told of, whenever it is asked."""

    def __init__(self) -> None:
        self.pipeline: Any = None
        self.depth = self.deepest = 0

    def again(self, *args: Any) -> None:
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        try:
            if self.pipeline is not None and self.depth < 50:
                self.pipeline.queue_agent_update("echo", "said", {"depth": self.depth})
        finally:
            self.depth -= 1


@pytest.mark.fault("F15", "a part that queues updates from inside ends, and the others' updates come through")
@pytest.mark.parametrize(
    "part", ["router", "batching", "transformer", "observer", "check", "breaker_changed"]
)
@in_virtual_time
async def test_a_part_that_queues_from_inside(part: str) -> None:
    echo = Recursive()

    def what() -> Any:
        if part == "check":
            echo.pipeline.get_health_status()
            return None
        if part == "breaker_changed":
            breaker = echo.pipeline.circuit_breaker
            breaker.force_open("again") if breaker.state.value == "closed" else breaker.force_close("again")
            return None
        echo.again()
        return {"transformer": {}, "batching": 0}.get(part)

    never_off = {"containment": {"max_failures": 0}}
    pipeline, plugin = made("observer" if part == "breaker_changed" else part, what, **never_off)
    if part == "breaker_changed":

        class Toggling:
            @hookimpl
            def observe_breaker_changed(self) -> None:
                what()

        pipeline.parts.observers.breaker_changed = (
            pipeline.plugins.__class__(
                extra=[Toggling()], entry_points=False, containment=pipeline.containment
            )
            .observers()
            .breaker_changed
        )
        plugin.part = "none"
    async with pipeline, asyncio.timeout(600):
        echo.pipeline = pipeline
        if part == "router":
            # The echo asks the router what is to become of the echo: that is refused, and the first one goes on.
            now = plugin.now
            plugin.now = (  # type: ignore[method-assign]
                lambda part, otherwise, agent_id=BAD: (
                    what() if part == "router" else now(part, otherwise, agent_id)
                )
            )
        if part == "breaker_changed":
            pipeline.circuit_breaker.force_open("first")
            pipeline.circuit_breaker.force_close("at last")
        await others_are_delivered(pipeline, part)
        pipeline.get_health_status()
        assert echo.deepest <= 2
        assert pipeline.is_running
        balanced(pipeline)
        echo.pipeline = None


@pytest.mark.fault(
    "F14", "what hung on a loop that is gone is forgotten with it: the next start begins afresh"
)
def test_a_transport_that_hung_on_an_earlier_loop_is_asked_on_the_next() -> None:
    class Transport(MemoryTransport):
        name = "bad"
        stubborn = True

        async def publish(self, publication: Any) -> None:
            while self.stubborn:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue
            await super().publish(publication)

    class Own:
        @hookimpl
        def provide_transport(self, config: Any) -> Any:
            return transport

    transport = Transport()
    config = config_from_mapping({"transport": "bad", "entry_points": False, "transport_timeout_s": 0.05})
    pipeline = build_pipeline(config, extra_plugins=[Own()])
    loop = asyncio.new_event_loop()

    async def hang() -> None:
        await pipeline.start()
        pipeline.queue_agent_update("a", "said", {})
        while not pipeline.containment.known(transport)._stuck:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await pipeline.stop(0.0)

    loop.run_until_complete(hang())
    (task,) = asyncio.all_tasks(loop)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be pending for ever
    loop.close()
    transport.stubborn = False

    async def again() -> None:
        async with pipeline, asyncio.timeout(30):
            while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    asyncio.run(again())
    assert pipeline.store.channel("updates").event_count == 1
