"""Frames encoded once: the bytes are those of RFC 6455, and they are written only where `send` would do no more."""

from __future__ import annotations

import asyncio
import enum
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.runtime.direct_write import MAX_BYTES, direct_writer, text_frames


class Transport:
    """Notes each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.closing


class State(enum.Enum):
    """As websockets' own."""

    OPEN = 1
    CLOSING = 2


class WebSocketsSansIOProtocol:
    """As much of uvicorn's protocol as is looked at; its `send` notes messages."""

    def __init__(self) -> None:
        self.transport: Any = Transport()
        self.writable = asyncio.Event()
        self.writable.set()
        self.close_sent = self.disconnected = False
        self.handshake_complete = True
        self.initial_response = None
        self.conn = SimpleNamespace(extensions=[], state=State.OPEN, expect_continuation_frame=False)
        self.sent: list[str] = []

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message["text"])


WebSocketsSansIOProtocol.__module__ = "uvicorn.protocols.websockets.websockets_sansio_impl"


async def after_a_flush(protocol: WebSocketsSansIOProtocol, *texts: str) -> None:
    """Serves one connection and delivers one event for each text, in one flush."""
    async with UpdatePipeline() as pipeline:
        pipeline.websocket_manager.open(
            "one", protocol.send, session=pipeline.websocket_manager.classic_session(("updates",))
        )
        await asyncio.sleep(0)
        for text in texts:
            pipeline.queue_agent_update("lamp", "blink", {"text": text})
        for _ in range(20):
            await asyncio.sleep(0)


@given(st.lists(st.text(max_size=200) | st.integers(100, 70_000).map(lambda n: "x" * n), max_size=5))
def test_frames_are_those_that_a_websocket_library_makes(texts: list[str]) -> None:
    """Of every length class, in order; compared with the library that uvicorn uses."""
    frames = pytest.importorskip("websockets.frames", reason="python -m pip install websockets")
    try:
        payloads = [text.encode() for text in texts]
    except UnicodeEncodeError:
        return
    expected = b"".join(frames.Frame(frames.Opcode.TEXT, data).serialize(mask=False) for data in payloads)
    assert text_frames(texts) == expected


async def test_the_frames_of_a_flush_are_one_write_in_order() -> None:
    protocol = WebSocketsSansIOProtocol()
    await after_a_flush(protocol, "a", "b", "c")
    assert protocol.sent == []
    (written,) = protocol.transport.writes
    places = [written.index(b'{"text":"%s"}' % text) for text in (b"a", b"b", b"c")]
    assert places == sorted(places)


async def test_who_waits_is_handed_a_flush_without_a_turn_of_its_task() -> None:
    """The task's turn costs more than the write; it still waits for what comes next."""
    protocol = WebSocketsSansIOProtocol()
    async with UpdatePipeline() as pipeline:
        manager = pipeline.websocket_manager
        connection = manager.open("one", protocol.send, session=manager.classic_session(("updates",)))
        await asyncio.sleep(0)
        (waits_with,) = connection.feed.waiting.values()
        for number in range(3):
            await pipeline.publish("lamp", "blink", {"number": number})
            await asyncio.sleep(0)
            assert len(protocol.transport.writes) == number + 1
            assert connection.feed.waiting == {connection: waits_with}
            assert manager.behind_count() == 0
        connection.reply("an answer")
        await pipeline.publish("lamp", "blink", {"number": 3})
        for _ in range(3):
            await asyncio.sleep(0)
        assert (protocol.sent, len(protocol.transport.writes)) == (["an answer"], 4)


async def test_a_socket_that_fails_under_a_write_is_that_connections_own_affair() -> None:
    broken, other = WebSocketsSansIOProtocol(), WebSocketsSansIOProtocol()

    def write(data: bytes) -> None:
        raise OSError("gone")

    broken.transport.write = write
    async with UpdatePipeline() as pipeline:
        manager = pipeline.websocket_manager
        for name, protocol in (("broken", broken), ("other", other)):
            manager.open(name, protocol.send, session=manager.classic_session(("updates",)))
        await asyncio.sleep(0)
        await pipeline.publish("lamp", "blink", {})
        for _ in range(3):
            await asyncio.sleep(0)
        assert (list(manager.connections), manager.send_failures) == (["other"], 1)
        assert len(other.transport.writes) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: setattr(p, "close_sent", True),
        lambda p: setattr(p, "disconnected", True),
        lambda p: setattr(p, "handshake_complete", False),
        lambda p: p.writable.clear(),
        lambda p: p.conn.extensions.append("permessage-deflate"),
        lambda p: setattr(p.conn, "state", State.CLOSING),
        lambda p: setattr(p.conn, "expect_continuation_frame", True),
        lambda p: setattr(p.transport, "closing", True),
    ],
)
async def test_in_every_other_state_frames_go_through_send(spoil: Any) -> None:
    protocol = WebSocketsSansIOProtocol()
    spoil(protocol)
    await after_a_flush(protocol, "a", "b")
    assert protocol.transport.writes == []
    assert len(protocol.sent) == 2


async def test_what_is_too_much_for_one_write_goes_through_send() -> None:
    protocol = WebSocketsSansIOProtocol()
    await after_a_flush(protocol, "x" * (MAX_BYTES // 2), "y" * (MAX_BYTES // 2))
    assert protocol.transport.writes == []
    assert len(protocol.sent) == 2


async def test_other_senders_are_left_alone() -> None:
    async def plain(message: dict[str, Any]) -> None: ...

    class Other(WebSocketsSansIOProtocol):
        pass

    half = WebSocketsSansIOProtocol()
    del half.conn.extensions
    assert direct_writer(plain) is None
    assert direct_writer(Other().send) is None
    assert direct_writer(half.send) is None
    assert direct_writer(WebSocketsSansIOProtocol().send) is not None


async def test_the_installed_uvicorn_is_known_in_every_part() -> None:
    """A real protocol after a real handshake, without and with compression, is written to, and is not."""
    uvicorn = pytest.importorskip("uvicorn", reason="python -m pip install uvicorn")
    websockets = pytest.importorskip("websockets", reason="python -m pip install websockets")
    pytest.importorskip("uvicorn.protocols.websockets.websockets_sansio_impl", reason="needs a newer uvicorn")
    found: list[bool] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await send({"type": "websocket.accept"})
        writer = direct_writer(send)
        assert writer is not None
        found.append(writer.is_open())
        if writer.is_open():
            writer.write(text_frames(["one", "two"]))
        else:
            for text in ("one", "two"):
                await send({"type": "websocket.send", "text": text})
        await receive()

    config = uvicorn.Config(application, port=0, ws="websockets-sansio", log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    for compression in (None, "deflate"):
        async with websockets.connect(f"ws://127.0.0.1:{port}/", compression=compression) as socket:
            assert [await socket.recv(), await socket.recv()] == ["one", "two"]
    server.should_exit = True
    await serving
    assert found == [True, False]
