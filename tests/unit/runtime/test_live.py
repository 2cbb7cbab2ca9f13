"""Reports that come by themselves: one timer, made once for all, nothing queued for a socket that stalls."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from typing import Any

import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.runtime.admin_socket import AdminSocket
from django_update_pipeline.runtime.live import CHECK_EVERY_S, GOOD_FOR_S, LETTERS_EVERY_S
from django_update_pipeline.runtime.socket import SocketClient
from django_update_pipeline.testing import FaultyTransport, in_virtual_time
from tests.integration.asgi import AsgiSocket

from .conftest import MakePipeline

REPORTS = ["health_status", "performance_metrics", "connection_info"]


class Door:
    """Says who may: `answer` is a bool, an exception, or None for no answer at all."""

    def __init__(self) -> None:
        self.answer: bool | Exception | None = True
        self.asked: list[str] = []

    async def __call__(self, command: str) -> bool:
        self.asked.append(command)
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


class SlowSocket(AsgiSocket):
    """Takes one frame a second once it is slow."""

    is_slow = False

    async def _send(self, message: dict[str, Any]) -> None:
        if self.is_slow:
            await asyncio.sleep(1)
        await super()._send(message)


async def admin(
    pipeline: UpdatePipeline,
    name: str = "ws_1",
    door: Door | None = None,
    kind: type[AsgiSocket] = AsgiSocket,
) -> Any:
    """An open admin socket, greeting read."""
    served = AdminSocket(pipeline, SocketClient(name), door or Door())
    inbox = kind(lambda scope, receive, send: serve(served, receive, send))
    assert await inbox.connect()
    await inbox.until(lambda: inbox.frames)
    return inbox


async def serve(socket: AdminSocket, receive: Any, send: Any) -> None:
    await receive()
    await socket.serve(receive, send)


def live(socket: AsgiSocket, kind: str | None = None) -> list[dict[str, Any]]:
    return [one for one in socket.frames if one.get("live") and kind in (None, one["type"])]


async def close(*sockets: AsgiSocket) -> None:
    for socket in sockets:
        await socket.disconnect()


@in_virtual_time
async def test_reports_come_at_the_interval_until_it_ends(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline)
        answer = await socket.ask({"command": "watch", "params": {"interval_s": 2}, "id": "w"})
        assert (answer["type"], answer["id"]) == ("watching", "w")
        assert answer["data"] == {"interval_s": 2.0, "last_event": 0}
        await asyncio.sleep(0.5)
        assert [one["type"] for one in live(socket)] == REPORTS, "the first at once, in this order"
        await asyncio.sleep(10)
        assert [one["type"] for one in live(socket)] == REPORTS * 6
        assert all("id" not in one for one in live(socket))
        times = [one["timestamp"] for one in live(socket, "performance_metrics")]
        assert [round(later - earlier) for earlier, later in pairwise(times)] == [2] * 5
        before = len(live(socket))
        await socket.ask({"command": "watch", "params": {"interval_s": 0.5}})
        await asyncio.sleep(5.2)
        assert len(live(socket)) - before == 3 * 11
        answer = await socket.ask({"command": "unwatch"})
        assert answer["data"]["interval_s"] is None
        before = len(live(socket))
        await asyncio.sleep(60)
        assert len(live(socket)) == before
        assert pipeline.live.watcher_count == 0
        await close(socket)


@in_virtual_time
async def test_reports_are_made_once_for_all_who_watch(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        pipeline.live.start()
        made = {"metrics": 0, "health": 0}
        metrics, health = pipeline.get_performance_metrics, pipeline.get_health_status

        def counted_metrics() -> Any:
            made["metrics"] += 1
            return metrics()

        def counted_health() -> Any:
            made["health"] += 1
            return health()

        pipeline.get_performance_metrics = counted_metrics  # type: ignore[method-assign]
        pipeline.get_health_status = counted_health  # type: ignore[method-assign]
        sockets = [await admin(pipeline, f"ws_{n}") for n in range(5)]
        for socket in sockets:
            await socket.ask({"command": "watch", "params": {"interval_s": 0.2}})
            await asyncio.sleep(0.01)  # at a time of its own: served along with the others all the same
        made.update(metrics=0, health=0)
        await asyncio.sleep(10)
        for socket in sockets:
            assert len(live(socket, "health_status")) >= 48
        # Five sockets, five rounds a second: 50 rounds and their ten samples, not 250.
        assert 45 <= made["metrics"] <= 75
        assert 9 <= made["health"] <= 11, "plugins' checks are asked once a second at most"
        await close(*sockets)


@in_virtual_time
async def test_a_socket_that_stalls_is_sent_the_newest_and_every_event(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        stalled, well = await admin(pipeline, "ws_1"), await admin(pipeline, "ws_2")
        for socket in (stalled, well):
            await socket.ask({"command": "watch", "params": {"interval_s": 1}})
        await asyncio.sleep(0.5)
        stalled.block()
        await asyncio.sleep(20)
        pipeline.circuit_breaker.force_open("one")
        pipeline.reset_circuit_breaker()
        await asyncio.sleep(5)
        assert [one["data"]["after"] for one in live(well, "circuit_breaker_changed")] == ["open", "closed"]
        connection = pipeline.websocket_manager.connections["ws_1"]
        assert len(connection.replies) == 0, "nothing is queued for it"
        before = len(stalled.frames)
        stalled.unblock()
        await asyncio.sleep(0.1)
        came = stalled.frames[before:]
        # What was in its way, then both events, then one report of each kind, from the last round.
        assert [one["type"] for one in came[1:3]] == ["circuit_breaker_changed"] * 2
        assert sorted(one["type"] for one in came[3:]) == sorted(REPORTS)
        newest = live(well, "performance_metrics")[-1]["timestamp"]
        assert {one["timestamp"] for one in came[3:]} == {newest}
        await close(stalled, well)


@in_virtual_time
async def test_a_slow_socket_gets_each_kind_in_turn(make_pipeline: MakePipeline) -> None:
    """One frame a second at three reports a second: none of the kinds is left out for ever."""
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline, kind=SlowSocket)
        await socket.ask({"command": "watch", "params": {"interval_s": 1}})
        await asyncio.sleep(0.2)
        before = len(socket.frames)
        socket.is_slow = True
        await asyncio.sleep(30)
        socket.is_slow = False
        kinds = [one["type"] for one in socket.frames[before:]]
        assert all(kinds.count(kind) >= 5 for kind in REPORTS), kinds
        await close(socket)


@in_virtual_time
async def test_what_happens_is_told_at_once_from_any_thread(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline)
        await socket.ask({"command": "watch", "params": {"interval_s": 60}})
        await asyncio.sleep(0.1)
        thread = threading.Thread(target=pipeline.circuit_breaker.force_open, args=("test",))
        thread.start()
        thread.join()
        await socket.until(lambda: live(socket, "circuit_breaker_changed"))
        told = live(socket, "circuit_breaker_changed")[0]["data"]
        assert told == {"number": 1, "before": "closed", "after": "open", "cause": "forced open: test"}
        await close(socket)


@in_virtual_time
async def test_a_flood_of_dead_letters_is_told_once_a_second(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    async with make_pipeline(transport, clock="loop", retry={"max_retries": 0}) as pipeline:
        socket = await admin(pipeline)
        await socket.ask({"command": "watch", "params": {"interval_s": 60}})
        await asyncio.sleep(0.1)
        pipeline._notices.obituaries.clear()
        for n in range(500):
            letter = dead(pipeline, n)
            assert letter.number == n + 1
            if n % 100 == 0:
                await asyncio.sleep(0.1)
        await asyncio.sleep(3 * LETTERS_EVERY_S)
        told = [one["data"] for one in live(socket, "dead_letters_added")]
        assert len(told) == 2, "the first at once, the rest together"
        assert told[0]["count"] == 1
        assert sum(one["count"] for one in told) == 500 == told[-1]["total"]
        assert told[-1]["newest"]["number"] == 500
        assert told[-1]["newest"]["reason"] == "failed"
        await close(socket)


def dead(pipeline: UpdatePipeline, n: int) -> Any:
    """An update dies, as the delivery has it."""
    from django_update_pipeline.core.messages import UpdateMessage

    update = UpdateMessage(f"agent_{n}", "said", b"{}")
    letter = pipeline.dead_letters.add(update, "failed", "ValueError: no", pipeline.clock.time())
    pipeline._notices.obituaries.append((update, "failed", "ValueError: no"))
    pipeline._after_door(False)
    return letter


@in_virtual_time
async def test_a_withdrawn_permission_ends_the_socket(make_pipeline: MakePipeline) -> None:
    door = Door()
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline, door=door)
        await socket.ask({"command": "watch", "params": {"interval_s": 60}})
        door.asked.clear()
        await asyncio.sleep(CHECK_EVERY_S + 2)
        assert door.asked == ["watch"], "asked again though no report was due"
        door.answer = False
        await asyncio.sleep(CHECK_EVERY_S + 2)
        assert socket.close_code == 4001
        assert pipeline.live.watcher_count == 0
        await close(socket)


@in_virtual_time
@pytest.mark.parametrize("answer", [RuntimeError("the data base is down"), None])
async def test_reports_pause_while_nobody_knows_who_may(
    make_pipeline: MakePipeline, answer: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door()
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline, door=door)
        await socket.ask({"command": "watch", "params": {"interval_s": 1}})
        door.answer = answer
        await asyncio.sleep(GOOD_FOR_S + 2)
        before = len(live(socket))
        assert before > 3 * (GOOD_FOR_S - 3), "it goes on for a while"
        await asyncio.sleep(300)
        assert len(live(socket)) == before, "then nothing more is shown"
        assert [one["code"] for one in socket.frames if one["type"] == "error"] == ["timeout"]
        assert socket.close_code is None
        assert caplog.text.count("permission can't be asked for") == 1
        door.answer = True
        await asyncio.sleep(CHECK_EVERY_S + 2)
        assert len(live(socket)) > before, "and goes on when it is known"
        await close(socket)


@in_virtual_time
async def test_samples_are_taken_while_nobody_watches(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        pipeline.live.start()
        pipeline.live.start()
        await asyncio.sleep(400)
        socket = await admin(pipeline)
        history = (await socket.ask({"command": "get_history"}))["data"]
        times = history["samples"]["timestamp"]
        assert 298 <= len(times) <= 300
        assert all(0.9 < later - earlier < 1.2 for earlier, later in pairwise(times))
        short = (await socket.ask({"command": "get_history", "params": {"seconds": 10}}))["data"]
        assert 9 <= len(short["samples"]["timestamp"]) <= 11
        await close(socket)


@in_virtual_time
async def test_a_report_that_fails_is_not_the_last_one(
    make_pipeline: MakePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline)
        await socket.ask({"command": "watch", "params": {"interval_s": 1}})
        await asyncio.sleep(0.5)
        works = pipeline.get_performance_metrics

        def fails() -> Any:
            raise RuntimeError("a bug of ours")

        pipeline.get_performance_metrics = fails  # type: ignore[method-assign]
        await asyncio.sleep(2)
        assert "a report to the admin sockets failed" in caplog.text
        assert len(caplog.records) <= 6, "and no more often than it is tried"
        pipeline.get_performance_metrics = works  # type: ignore[method-assign]
        before = len(live(socket))
        await asyncio.sleep(2)
        assert len(live(socket)) > before
        await close(socket)


@in_virtual_time
async def test_who_leaves_is_forgotten_and_stop_leaves_no_timer(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(clock="loop")
    await pipeline.start()
    left, stays = await admin(pipeline, "ws_1"), await admin(pipeline, "ws_2")
    for socket in (left, stays):
        await socket.ask({"command": "watch"})
    assert pipeline.live.watcher_count == 2
    await left.disconnect()
    assert pipeline.live.watcher_count == 1
    await pipeline.stop()
    assert pipeline.live.watcher_count == 0
    assert stays.close_code == 4010
    await close(stays)
    assert pipeline.live._timer is None
    pipeline.circuit_breaker.force_open("nobody listens")
    pipeline.reset_circuit_breaker()
    await pipeline.start()
    pipeline.live.start()
    assert [event["data"]["after"] for event in pipeline.live.history.as_dict(0.0)["events"]] == [
        "open",
        "closed",
    ], "what happened meanwhile is in the history"
    await pipeline.stop()
