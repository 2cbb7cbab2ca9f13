"""Several frames in one write, on servers that let us.

An ASGI `send` writes each frame to the socket by itself, and the system call is most of what a small frame costs.
uvicorn's protocols write through an attribute, `transport`; while a connection is handed several frames in a row, a
`Cork` stands in for it, keeps what is written, and writes it at once when the last frame is through. The frames, their
order and the protocol's state are uvicorn's own; only the moment of the write changes, and nothing else runs meanwhile.

Where `send` is not such a protocol's own method (another server, a middleware that wraps it) nothing is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_MODULES = ("uvicorn.protocols.websockets.",)


class Cork:
    """Stands in for a protocol's transport from its making until `release`."""

    __slots__ = ("_held", "_protocol", "_transport", "write")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._held: list[bytes] = []
        self.write: Callable[[bytes], None] = self._held.append
        protocol.transport = self

    def __getattr__(self, name: str) -> Any:
        # Whatever else the protocol asks of its transport is the transport's to answer.
        return getattr(self._transport, name)

    def release(self) -> None:
        """Puts the transport back and writes what was kept. Idempotent."""
        if self._protocol.transport is self:
            self._protocol.transport = self._transport
        if self._held:
            held = b"".join(self._held)
            self._held.clear()
            if not self._transport.is_closing():
                self._transport.write(held)


def protocol_behind(send: object) -> Any:
    """The server's protocol whose method `send` is, if frames can be held back there; else None."""
    protocol = getattr(send, "__self__", None)
    if protocol is None or not type(protocol).__module__.startswith(_MODULES):
        return None
    if not isinstance(getattr(protocol, "writable", None), asyncio.Event):
        return None
    return protocol if callable(getattr(getattr(protocol, "transport", None), "write", None)) else None
