"""What any caller can hand in harms nobody: it is refused to him, or it works."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest

from django_update_pipeline import UNSET, InvalidUpdate, UpdatePipeline
from django_update_pipeline.core.messages import UpdateKind, UpdateMessage
from django_update_pipeline.testing import RecordingSocket


@pytest.mark.parametrize("update_type", ["half a pair \ud800", "two\nlines", "", 5, "__proto__"])
async def test_an_update_type_that_can_not_be_sent_is_refused_to_its_caller(update_type: Any) -> None:
    """It was accepted, and ended every connection that was told."""
    async with UpdatePipeline() as pipeline:
        socket = RecordingSocket()
        await pipeline.register_websocket("one", socket)
        with pytest.raises(InvalidUpdate, match="update_type"):
            pipeline.queue_agent_update("agent_001", update_type, {"n": 1})
        await pipeline.publish("agent_001", "dialogue", {"n": 1})
        await socket.until(lambda: len(socket.events) == 1)
        assert pipeline.websocket_manager.send_failures == 0


def test_fields_are_removed_by_keys_as_they_were_set() -> None:
    """A key that is no string was accepted, failed at the door, and left the agent unusable."""
    pipeline = UpdatePipeline()
    pipeline.queue_agent_update("agent_001", "state_change", {"1": "one", "2": "two"})
    pipeline.queue_agent_update("agent_001", "state_patch", {1: UNSET})  # type: ignore[dict-item]
    (update,) = pipeline.batch_processor.pending_updates[2]
    assert update.data == {"2": "two"}


def test_a_field_to_remove_whose_name_can_not_be_encoded_is_refused() -> None:
    pipeline = UpdatePipeline()
    with pytest.raises(InvalidUpdate, match="agent_001"):
        pipeline.queue_agent_update("agent_001", "state_patch", {"\ud800": UNSET})
    assert pipeline.get_performance_metrics()["accepted"] == 0


async def test_a_patch_that_replaces_a_large_field_is_measured_by_what_comes_of_it() -> None:
    """Old and new value were added up, and the new one refused at half the bound."""
    large, limit = "x" * 400_000, 1024 * 1024
    async with UpdatePipeline() as pipeline:
        await pipeline.publish("agent_001", "state_patch", {"map": large, "mood": "calm"})
        for number in range(3):
            pipeline.queue_agent_update("agent_001", "state_patch", {"map": large, "n": number})
        await pipeline.publish("agent_001", "state_patch", {"log": large})
        with pytest.raises(InvalidUpdate, match=f"max_update_bytes = {limit}"):
            pipeline.queue_agent_update("agent_001", "state_patch", {"notes": large})
        await pipeline.publish("agent_001", "state_patch", {"notes": large, "log": UNSET})
        await pipeline.publish("agent_001", "state_patch", {"elsewhere": large}, channels=("other",))


def test_the_same_channels_in_another_order_are_the_same_to_conflation() -> None:
    pipeline = UpdatePipeline()
    pipeline.queue_agent_update("agent_001", data={"n": 1}, channels=("news", "villa"))
    pipeline.queue_agent_update("agent_001", data={"n": 2}, channels=["villa", "news"])
    assert pipeline.get_performance_metrics()["conflated"] == 1


def test_a_system_notification_meets_the_bound_on_one_update() -> None:
    pipeline = UpdatePipeline()
    with pytest.raises(InvalidUpdate, match="max_update_bytes"):
        pipeline.queue_system_notification("x" * 2_000_000)


async def test_a_letter_replayed_in_a_transaction_is_not_lost_by_a_rollback() -> None:
    """It was gone from the letters at once, and queued only by a commit that never came."""
    rolled_back: list[Callable[[], None]] = []

    def defer(go_on: Callable[[], None]) -> bool:
        rolled_back.append(go_on)
        return True

    async with UpdatePipeline(defer=defer) as pipeline:
        socket = RecordingSocket()
        await pipeline.register_websocket("one", socket)
        dead = UpdateMessage("agent_001", "dialogue", b"{}", channels=("updates",), kind=UpdateKind.EVENT)
        number = pipeline.dead_letters.add(dead, "overflow", "a test", 0.0).number
        assert pipeline.replay_dead_letter(number)
        assert not pipeline.replay_dead_letter(number)
        await socket.until(lambda: len(socket.events) == 1)


@pytest.mark.fault("F12", "what a signal handler queues is sent, also while the loop sleeps")
async def test_a_signal_handler_s_update_is_sent_though_the_loop_is_asleep() -> None:
    """The loop waits in its selector then, and a callback that is only appended does not end that wait."""
    pipeline = UpdatePipeline()
    pipeline._monitor.watchdog.tick_s = 3600.0  # twice a second it would end the wait
    async with pipeline:
        socket = RecordingSocket()
        await pipeline.register_websocket("one", socket)
        before = signal.signal(
            signal.SIGALRM, lambda *_: pipeline.queue_agent_update("agent_001", data={"n": 1})
        )
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # by then the loop has nothing left to do, and sleeps
            began = asyncio.get_running_loop().time()
            await socket.until(lambda: "agent_001" in socket.states, timeout_s=10)
            assert asyncio.get_running_loop().time() - began < 5, "the signal woke the loop, not the timeout"
        finally:
            signal.signal(signal.SIGALRM, before)
