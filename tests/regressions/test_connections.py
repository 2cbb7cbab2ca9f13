"""What one connection does, or has done to it, leaves the others and itself in a known state."""

from __future__ import annotations

import asyncio

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.testing import RecordingSocket


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
            await asyncio.sleep(0.001)
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
