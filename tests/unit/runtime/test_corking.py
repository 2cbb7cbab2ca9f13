"""Several frames in one write: held back and written in order, and only where the server is known."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.runtime.corking import Cork, protocol_behind


class Transport:
    """Notes each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.closing


class Protocol:
    """As much of a uvicorn protocol as the cork knows: `transport`, `writable`, and a `send` that writes."""

    def __init__(self) -> None:
        self.transport: Any = Transport()
        self.writable = asyncio.Event()
        self.writable.set()
        self.blocks_after: int | None = None
        self.sent = 0

    async def send(self, message: dict[str, Any]) -> None:
        await self.writable.wait()
        if self.transport.is_closing():
            raise ConnectionError("gone")
        self.transport.write(message["text"].encode())
        self.sent += 1
        if self.sent == self.blocks_after:
            self.writable.clear()


Protocol.__module__ = "uvicorn.protocols.websockets.as_it_could_be"


async def frames_of_one_flush(protocol: Protocol, count: int) -> UpdatePipeline:
    pipeline = UpdatePipeline()
    await pipeline.start()
    pipeline.websocket_manager.open("one", protocol.send, channels=("updates",))
    await asyncio.sleep(0)
    for number in range(count):
        pipeline.queue_agent_update("lamp", "blink", {"number": number})
    for _ in range(20):
        await asyncio.sleep(0)
    return pipeline


async def test_the_frames_of_a_flush_are_one_write_in_order() -> None:
    protocol = Protocol()
    transport = protocol.transport
    pipeline = await frames_of_one_flush(protocol, 5)
    assert len(transport.writes) == 1
    assert [transport.writes[0].count(b'"number":%d}' % n) for n in range(5)] == [1] * 5
    positions = [transport.writes[0].index(b'"number":%d}' % n) for n in range(5)]
    assert positions == sorted(positions)
    assert protocol.transport is transport, "the stand-in is gone"
    await pipeline.stop()


async def test_a_single_frame_is_written_as_ever() -> None:
    protocol = Protocol()
    transport = protocol.transport
    pipeline = await frames_of_one_flush(protocol, 1)
    assert len(transport.writes) == 1
    await pipeline.stop()


async def test_what_was_kept_is_written_before_a_frame_has_to_wait() -> None:
    """The socket takes no more after two of five frames: those two are out, the rest follows when it does."""
    protocol = Protocol()
    protocol.blocks_after = 2
    transport = protocol.transport
    pipeline = await frames_of_one_flush(protocol, 5)
    assert b"".join(transport.writes).count(b"blink") == 2
    assert protocol.transport is transport
    protocol.writable.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert b"".join(transport.writes).count(b"blink") == 5
    await pipeline.stop()


async def test_a_send_that_fails_puts_the_transport_back() -> None:
    protocol = Protocol()
    transport = protocol.transport
    transport.closing = True
    pipeline = await frames_of_one_flush(protocol, 3)
    assert protocol.transport is transport
    assert transport.writes == []
    assert pipeline.websocket_manager.get_connection_count() == 0
    await pipeline.stop()


def test_a_closing_transport_is_not_written_to() -> None:
    protocol = Protocol()
    transport = protocol.transport
    cork = Cork(protocol)
    protocol.transport.write(b"late")
    transport.closing = True
    cork.release()
    cork.release()
    assert transport.writes == []


async def test_other_senders_are_left_alone() -> None:
    async def plain(message: dict[str, Any]) -> None: ...

    class Other(Protocol):
        pass

    Other.__module__ = "hypercorn.protocol"
    assert protocol_behind(plain) is None
    assert protocol_behind(Other().send) is None
    halved = Protocol()
    halved.writable = None  # type: ignore[assignment]
    assert protocol_behind(halved.send) is None


def test_the_installed_uvicorn_still_has_what_the_cork_leans_on() -> None:
    """`transport` and `writable` are set in its protocols' own modules."""
    sansio = pytest.importorskip(
        "uvicorn.protocols.websockets.websockets_sansio_impl", reason="needs uvicorn"
    )
    import inspect

    source = inspect.getsource(sansio.WebSocketsSansIOProtocol)
    assert "self.writable = asyncio.Event()" in source
    assert "self.transport.write(" in source
