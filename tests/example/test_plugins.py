"""What joins the villa to the pipeline: sources by urgency, the runner, the founding import paths."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from dating_show import plugins
from dating_show.changes import ChangesOf, urgency_of
from dating_show.services.frontend_state_adapter import FrontendStateAdapter
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa import source
from dating_show.villa.simulation import Villa
from dating_show.villa.source import VillaSource
from django_update_pipeline import UpdatePriority
from django_update_pipeline.plugins.sources import UnifiedAgentManagerSource

from .conftest import HandTimer


class RecordingSink:
    """Keeps what a source queues."""

    def __init__(self) -> None:
        self.changed: list[tuple[str, UpdatePriority]] = []
        self.events: list[tuple[str, str, UpdatePriority]] = []
        self.notices: list[str] = []
        self.fails = False

    def queue_agent_changed(self, agent_id: str, load: Any, priority: UpdatePriority, **_: Any) -> None:
        assert load(agent_id)["agent_id"] == agent_id
        self.changed.append((agent_id, priority))

    def queue_agent_update(
        self, *, agent_id: str, update_type: str, data: Any, priority: UpdatePriority
    ) -> None:
        if self.fails:
            raise RuntimeError("the pipeline is full")
        self.events.append((agent_id, update_type, priority))

    def queue_system_notification(self, message: str, level: str = "info") -> None:
        self.notices.append(message)


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(source, "_running", None)
    source.enable_simulation()
    yield
    source.disable_simulation()


@pytest.mark.parametrize(
    ("event", "changed", "urgency"),
    [
        ("agent_registered", None, UpdatePriority.NORMAL),
        ("agent_removed", None, UpdatePriority.NORMAL),
        ("agent_updated", None, UpdatePriority.HIGH),
        ("batch_update", {"position": 1}, UpdatePriority.NORMAL),
        ("batch_update", {"position": 1, "emotions": 1}, UpdatePriority.NORMAL),
        ("batch_update", {"emotions": 1}, UpdatePriority.LOW),
        ("batch_update", {}, UpdatePriority.NORMAL),
    ],
)
def test_the_urgency_of_a_change_follows_from_what_changed(
    event: str, changed: Any, urgency: UpdatePriority
) -> None:
    assert urgency_of(event, changed) is urgency


def test_each_change_is_carried_once_with_its_urgency(
    the_manager: UnifiedAgentManager, timer: HandTimer
) -> None:
    the_manager.register_agent("agent_001", "Amara", {})
    sink = RecordingSink()
    sources = [
        one for one in plugins.provide_sources(config=None) if isinstance(one, UnifiedAgentManagerSource)
    ]
    for one in sources:
        one.start(sink)
    assert sink.changed == [("agent_001", UpdatePriority.NORMAL)], "who is there is told once"
    sink.changed.clear()
    the_manager.register_agent("agent_002", "Luca", {})
    the_manager.update_agent_state("agent_001", {"location": "pool"})
    the_manager.update_agent_state("agent_002", {"emotions": {"mood": "calm"}})
    timer.fire()
    the_manager.update_agent_state("agent_002", {"location": "bar"}, batch_mode=False)
    assert sorted(sink.changed) == [
        ("agent_001", UpdatePriority.NORMAL),
        ("agent_002", UpdatePriority.HIGH),
        ("agent_002", UpdatePriority.NORMAL),
        ("agent_002", UpdatePriority.LOW),
    ]
    for one in sources:
        one.stop()
    sink.changed.clear()
    the_manager.update_agent_state("agent_001", {"location": "bar"}, batch_mode=False)
    assert sink.changed == []


def test_a_view_passes_a_listener_once_and_lets_it_go(manager: UnifiedAgentManager) -> None:
    view = ChangesOf(manager, UpdatePriority.NORMAL)
    heard: list[str] = []

    def listener(event: str, agent_id: Any, state: Any) -> None:
        heard.append(event)

    view.add_update_listener(listener)
    view.add_update_listener(listener)
    manager.register_agent("agent_001", "Amara", {})
    view.remove_update_listener(listener)
    view.remove_update_listener(listener)
    manager.register_agent("agent_002", "Luca", {})
    assert heard == ["agent_registered"]


async def test_the_villa_stays_empty_where_no_server_enabled_it(manager: UnifiedAgentManager) -> None:
    runner = VillaSource(manager)
    await runner.start(RecordingSink())
    assert manager.agent_ids() == []
    assert source.running_villa() is None
    await runner.stop()


async def wait_until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (the runner has no event for "a step is done")
            await asyncio.sleep(0)


async def test_the_villa_runs_takes_orders_and_stops(
    the_manager: UnifiedAgentManager, enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    runner = VillaSource(the_manager, clock=lambda: now[0], rng=random.Random(1), tick_s=60.0)
    sink = RecordingSink()
    await runner.start(sink)
    assert source.running_villa() is runner
    assert len(the_manager.agent_ids()) >= 8
    assert runner.knows("agent_001")
    assert not runner.knows("nobody")

    now[0] = 0.5
    await asyncio.to_thread(runner.order, lambda villa: villa.send_to("agent_001", "hideaway"))
    await wait_until(lambda: (the_manager.get_agent_state("agent_001") or {})["location"] == "hideaway")
    now[0] = 1.0
    runner.order(Villa.call_ceremony)
    await wait_until(lambda: sink.notices == ["Rose ceremony starting"])
    assert ("villa", "ceremony_started", UpdatePriority.CRITICAL) in sink.events

    await runner.stop()
    await runner.stop()
    assert source.running_villa() is None
    runner.order(lambda villa: villa.send_to("agent_001", "pool"))
    await runner.start(sink)
    await wait_until(lambda: (the_manager.get_agent_state("agent_001") or {})["location"] == "pool")
    await runner.stop()


async def test_a_full_pipeline_or_a_bad_order_does_not_end_the_show(
    the_manager: UnifiedAgentManager, enabled: None, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    runner = VillaSource(the_manager, clock=lambda: now[0], rng=random.Random(1), tick_s=60.0)
    sink = RecordingSink()
    sink.fails = True
    await runner.start(sink)
    runner.order(lambda villa: villa.send_to("nobody", "pool"))
    runner.order(Villa.call_ceremony)
    await wait_until(lambda: sink.notices == ["Rose ceremony starting"])
    assert caplog.text.count("Traceback") == 2, "the order's cause and the pipeline's"
    now[0] = 0.5
    runner.order(lambda villa: villa.send_to("nobody", "pool"))
    runner.order(lambda villa: villa.send_to("agent_001", "hideaway"))
    await wait_until(lambda: (the_manager.get_agent_state("agent_001") or {})["location"] == "hideaway")
    assert caplog.text.count("Traceback") == 2, "failures in a row are not logged again"
    sink.fails = False
    now[0] = 1.0
    runner.order(lambda villa: villa.hand_rose("agent_001", "agent_002"))
    await wait_until(lambda: [kind for _, kind, _ in sink.events].count("rose_given"))
    await runner.stop()


def test_the_simulation_can_be_turned_off_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATING_SHOW_SIMULATION", "off")
    source.enable_simulation()
    assert not source._enabled.is_set()


def test_the_adapter_of_the_pipeline_is_the_shows_own(the_manager: UnifiedAgentManager) -> None:
    adapter = plugins.provide_frontend_adapter(config=None)
    assert isinstance(adapter, FrontendStateAdapter)
    assert adapter.unified_manager is the_manager


def test_the_founding_names_are_those_of_the_package() -> None:
    import django_update_pipeline
    from dating_show.services import update_pipeline

    for name in update_pipeline.__all__:
        assert getattr(update_pipeline, name) is getattr(django_update_pipeline, name)


@pytest.mark.channels
def test_the_channels_routing_names_both_sockets() -> None:
    from dating_show.services.websocket_consumer import get_websocket_routing

    viewer, admin = get_websocket_routing()
    assert viewer.resolve("ws/dating_show/") is not None
    assert admin.resolve("ws/dating_show/admin/") is not None
    assert viewer.resolve("ws/dating_show/admin/") is None
