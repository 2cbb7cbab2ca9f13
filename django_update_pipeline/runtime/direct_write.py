"""A flush's frames as bytes, made once for all connections, on servers that let us.

A frame from a server is the same bytes for every client (RFC 6455 section 5.1: a server does not mask), so encoding
it again for each of a thousand connections, and writing each by itself, is most of what a small frame costs. uvicorn's
sans-I/O protocol can be written to directly while it is in the one state in which its own `send` would do nothing else:
open, not closing, no extension (compression) negotiated, its socket taking more. In any other state, on any other
server, and behind a middleware that wraps `send`, the frames go through `send` one by one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from typing import Any

#: More than this is not written in one piece: a socket that stops reading would hold all of it.
MAX_BYTES = 64 * 1024

_TEXT_FRAME = 0x81  # FIN and the opcode of a text frame, RFC 6455 section 5.2


def text_frames(texts: Iterable[str]) -> bytes:
    """WebSocket text frames as a server sends them, one after the other (RFC 6455 section 5.2)."""
    pieces: list[bytes] = []
    for text in texts:
        payload = text.encode()
        size = len(payload)
        if size < 126:
            pieces.append(struct.pack("!BB", _TEXT_FRAME, size))
        elif size < 65536:
            pieces.append(struct.pack("!BBH", _TEXT_FRAME, 126, size))
        else:
            pieces.append(struct.pack("!BBQ", _TEXT_FRAME, 127, size))
        pieces.append(payload)
    return b"".join(pieces)


class DirectWriter:
    """Writes ready-made frames to one connection's transport, when its protocol is in the state for it."""

    __slots__ = ("_connection", "_open", "_protocol")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._connection = protocol.conn
        self._open = type(protocol.conn.state).OPEN

    def is_open(self) -> bool:
        """Whether frames may be written now; if not, they have to go through `send`."""
        protocol, connection = self._protocol, self._connection
        return not (
            protocol.close_sent
            or protocol.disconnected
            or not protocol.handshake_complete
            or not protocol.writable.is_set()
            or connection.extensions
            or connection.state is not self._open
            or connection.expect_continuation_frame
            or protocol.transport.is_closing()
        )

    def write(self, frames: bytes) -> None:
        """Writes the frames; `is_open` must just have said that it may."""
        self._protocol.transport.write(frames)


def direct_writer(send: object) -> DirectWriter | None:
    """A writer for the protocol whose method `send` is, if it is one we know in every part; else None."""
    protocol = getattr(send, "__self__", None)
    if protocol is None or getattr(send, "__name__", "") != "send":
        return None
    kind = type(protocol)
    if (kind.__module__, kind.__name__) != (
        "uvicorn.protocols.websockets.websockets_sansio_impl",
        "WebSocketsSansIOProtocol",
    ):
        return None
    connection = getattr(protocol, "conn", None)
    known = (
        isinstance(getattr(protocol, "writable", None), asyncio.Event)
        and all(hasattr(protocol, name) for name in ("close_sent", "disconnected", "handshake_complete"))
        and all(hasattr(connection, name) for name in ("extensions", "state", "expect_continuation_frame"))
        and hasattr(type(getattr(connection, "state", None)), "OPEN")
        and getattr(protocol, "initial_response", "unknown") is None
        and callable(getattr(getattr(protocol, "transport", None), "write", None))
    )
    return DirectWriter(protocol) if known else None
