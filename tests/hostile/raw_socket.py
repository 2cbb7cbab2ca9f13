"""A WebSocket client that can say what no library lets one say: RFC 6455 by hand, on asyncio's streams."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterable

from .ledger import Find

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
DEFLATE = b"permessage-deflate; client_no_context_takeover; server_no_context_takeover"


def encode(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes | None = b"\x01\x02\x03\x04"
) -> bytes:
    """One frame. `mask` None leaves it unmasked, `rsv` is the three reserved bits (4 is RSV1)."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit, size = 0x80 if mask is not None else 0, len(payload)
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    if mask is None:
        return head + payload
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """The payload with the mask applied."""
    if not payload:
        return b""
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


def request(path: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An HTTP request as it is, whatever the bytes."""
    lines = [b"GET " + path + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def upgrade(*more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers that ask for a WebSocket."""
    return [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-key", base64.b64encode(os.urandom(16))),
        (b"sec-websocket-version", b"13"),
        *more,
    ]


class RawSocket:
    """One TCP connection that may become a WebSocket. What comes is told to `on_text`, `on_close`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.status: int | None = None
        self.on_text: Callable[[str], None] = lambda text: None
        self.on_close: Callable[[int], None] = lambda code: None
        self.pongs = 0
        self.is_closed = False
        self._listening = asyncio.Event()
        self._listening.set()
        self._inflates = False
        self.task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, port: int) -> RawSocket:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        return cls(reader, writer)

    def send(self, data: bytes) -> None:
        """Bytes as they are; what can't be written any more is lost, as on a wire."""
        if not self.writer.is_closing():
            self.writer.write(data)

    async def handshake(self, data: bytes, timeout_s: float) -> int | None:
        """Sends a request; the status of the answer, or None if the connection just ends."""
        self.send(data)
        try:
            async with asyncio.timeout(timeout_s):
                head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            return None
        except TimeoutError:
            raise Find(
                f"a handshake was neither answered nor ended in {timeout_s:g} s: {data!r:.700}"
            ) from None
        first = head.split(b"\r\n", 1)[0].split(b" ")
        self.status = int(first[1]) if len(first) > 1 and first[1].isdigit() else None
        self._inflates = b"permessage-deflate" in head.lower()
        if self.status == 101:
            self.task = asyncio.create_task(self._read())
        return self.status

    @property
    def inflates(self) -> bool:
        """Whether permessage-deflate was agreed on."""
        return self._inflates

    def deafen(self, is_deaf: bool) -> None:
        """Stops reading, or goes on."""
        if is_deaf:
            self._listening.clear()
        else:
            self._listening.set()

    async def _read(self) -> None:
        code = 1006
        try:
            while True:
                await self._listening.wait()
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                payload = await self.reader.readexactly(size)
                opcode = first & 0x0F
                if opcode == TEXT:
                    if first & 0x40:
                        payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
                    self.on_text(payload.decode())
                elif opcode == PING:
                    self.send(encode(PONG, payload))
                elif opcode == PONG:
                    self.pongs += 1
                elif opcode == CLOSE:
                    code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
                    self.send(encode(CLOSE, payload[:2]))
                    self.on_close(code)
                    self.is_closed = True
                    # Whatever comes now was sent after a close.
                    rest = await self.reader.read(1)
                    if rest:
                        self.on_text(f"{rest!r} after the close frame")
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            if not self.is_closed:
                self.is_closed = True
                self.on_close(code)

    def reset(self) -> None:
        """Drops the connection with an RST, as a phone that lost its network."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def ended(self, timeout_s: float) -> bool:
        """Waits for the server's end of the connection; False if it does not come."""
        self._listening.set()
        if self.task is not None:
            done, _ = await asyncio.wait([self.task], timeout=timeout_s)
            return bool(done)
        try:
            async with asyncio.timeout(timeout_s):
                while await self.reader.read(65536):
                    pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True

    async def shut(self) -> None:
        """Lets go of everything here."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
        if self.task is not None:
            await asyncio.wait([self.task])
        self.writer.close()
        with contextlib.suppress(OSError, ConnectionError):
            await self.writer.wait_closed()
