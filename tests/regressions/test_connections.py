"""What one connection does, or has done to it, leaves the others and itself in a known state."""

from __future__ import annotations

import asyncio

import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.credit import Credit
from django_update_pipeline.core.messages import UpdatePriority
from django_update_pipeline.core.publication import Change, Publication, UpdateKind
from django_update_pipeline.core.sync_stream import SyncStream
from django_update_pipeline.core.view import View
from django_update_pipeline.runtime.connection import sender
from django_update_pipeline.runtime.socket import SocketClient
from django_update_pipeline.runtime.viewing import Viewing
from django_update_pipeline.testing import RecordingSocket

NORMAL = UpdatePriority.NORMAL


async def test_a_forgotten_connection_that_changes_its_channels_leaves_the_others_their_feed() -> None:
    """Its socket failed while a subscribe of it was being answered; the feed of the others was let go of then."""
    async with UpdatePipeline() as pipeline:
        gone, stays = RecordingSocket(), RecordingSocket()
        await pipeline.register_websocket("gone", gone)
        await pipeline.register_websocket("stays", stays)
        pipeline.queue_agent_update("agent_001", data={"n": 1})
        await stays.until(lambda: "agent_001" in stays.states)

        manager = pipeline.websocket_manager
        connection = manager.connections["gone"]
        manager.forget(connection)
        assert connection.session is not None
        connection.session.subscribe(("other",))
        connection.follow()

        pipeline.queue_agent_update("agent_001", data={"n": 2})
        await stays.until(lambda: stays.states["agent_001"] == {"n": 2}, timeout_s=5)
        assert len(manager._feeds) == 1, "and it leaves no feed of its own behind"
        assert connection.task is not None
        connection.task.cancel()


async def test_a_connection_whose_writer_fails_is_closed_not_left_to_show_old_states() -> None:
    async with UpdatePipeline() as pipeline:
        socket = RecordingSocket()
        await pipeline.register_websocket("one", socket)
        await asyncio.sleep(0)
        socket.fail(RuntimeError("this frame can't be sent"))
        pipeline.queue_agent_update("agent_001", data={"n": 1})
        await socket.until(lambda: socket.is_closed, timeout_s=5)
        assert pipeline.websocket_manager.get_connection_count() == 0


async def test_of_two_registrations_of_one_id_at_once_one_is_there_and_the_other_has_ended() -> None:
    async with UpdatePipeline() as pipeline:
        first, second, third = RecordingSocket(), RecordingSocket(), RecordingSocket()
        await pipeline.register_websocket("same", first)
        await asyncio.gather(
            pipeline.register_websocket("same", second), pipeline.register_websocket("same", third)
        )
        (connection,) = pipeline.websocket_manager.connections.values()
        assert [feed.members for feed in pipeline.websocket_manager._feeds.values()] == [1]
        writers = [task for task in asyncio.all_tasks() if task.get_name() == "update-pipeline-writer"]
        assert writers == [connection.task]


async def test_channels_that_clients_name_are_not_kept_for_them() -> None:
    """Where a hook allows `agent.*`, a client could make the server remember any number of channels."""
    async with UpdatePipeline() as pipeline:
        await pipeline.register_websocket("one", RecordingSocket())
        connection = pipeline.websocket_manager.connections["one"]
        session = connection.session
        assert session is not None
        for number in range(50):
            session.subscribe((f"agent.{number}",))
            connection.follow()
            await asyncio.sleep(0)  # the writer's turn
            await asyncio.sleep(0)
            session.unsubscribe((f"agent.{number}",))
            connection.follow()
        assert pipeline.store.channels == {}
        assert len(pipeline.websocket_manager._feeds) == 1


async def test_a_client_that_takes_no_frame_is_closed_at_the_end_too() -> None:
    """Its writer was cancelled without a word, and the socket showed the states of that moment for ever."""
    pipeline = UpdatePipeline()
    await pipeline.start()
    socket = RecordingSocket()
    await pipeline.register_websocket("one", socket)
    socket.block()
    pipeline.queue_agent_update("agent_001", data={"n": 1})
    await asyncio.wait_for(socket.blocked.wait(), 5)
    await pipeline.stop()
    assert socket.is_closed


@pytest.mark.parametrize("is_withdrawn", [True, False], ids=["withdrawn", "narrowed"])
async def test_what_is_hidden_while_shared_frames_are_written_is_not_in_those_left(
    is_withdrawn: bool,
) -> None:
    """A slow socket had one frame of several in hand: the others, made before a hook hid fields, came after it."""
    async with UpdatePipeline() as pipeline:
        manager, socket = pipeline.websocket_manager, RecordingSocket()
        session = SyncStream(manager.sync_renderer, Credit(1_000_000, 1000), pipeline.clock.monotonic)
        session.subscribe({View("a"): None, View("b"): None})
        viewing = Viewing(pipeline, SocketClient("one"))
        viewing.connection = connection = manager.open("one", sender(socket), session=session)
        await socket.until(lambda: {frame["channel"] for frame in socket.frames} >= {"a", "b"})
        await asyncio.sleep(0)
        assert session.catch_up is None

        socket.block()
        changes = tuple(
            Change(UpdateKind.MERGE, "agent", (name,), "u", b'{"seen":1,"secret":1}', (), 1.0, NORMAL)
            for name in "ab"
        )
        pipeline.apply(Publication("p", changes))
        await asyncio.wait_for(socket.blocked.wait(), 5)
        before = len(socket.frames)
        if is_withdrawn:
            viewing.take_off(("b",))
        else:
            assert viewing.show(View("b", ("seen",)))
        socket.unblock()
        await socket.until(lambda: len(socket.frames) > before, timeout_s=5)
        await manager.caught_up(5)

        told = [frame for frame in socket.frames[before:] if frame["channel"] == "b"]
        assert "secret" not in str(told)
        assert [frame.get("view") for frame in told if frame.get("agents")] == ["seen"] * (not is_withdrawn)
        assert connection.is_registered


async def test_news_of_a_loop_that_ended_keeps_nobody_waiting_on_the_next() -> None:
    """It ended before its connections were handed them, and nothing was handed to anybody on another loop."""
    pipeline = UpdatePipeline()
    change = Change(UpdateKind.MERGE, "agent", ("updates",), "u", b'{"n":1}', (), 1.0, NORMAL)

    def other_loop() -> None:
        async def wait() -> None:
            await pipeline.register_websocket("old", RecordingSocket())
            for _ in range(20):
                await asyncio.sleep(0)
            assert pipeline.websocket_manager.connections["old"].is_idle

        def tell() -> None:
            pipeline.apply(Publication("p", (change,)))
            loop.stop()  # with the turn that has not come yet

        loop = asyncio.new_event_loop()
        loop.run_until_complete(wait())
        loop.call_soon(tell)
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()

    await asyncio.to_thread(other_loop)
    async with pipeline:
        socket = RecordingSocket()
        await pipeline.register_websocket("new", socket)
        await pipeline.websocket_manager.caught_up(5)
        assert pipeline.websocket_manager.connections["new"].is_idle
        pipeline.queue_agent_update("agent", data={"n": 2})
        await socket.until(lambda: socket.states.get("agent") == {"n": 2}, timeout_s=5)
