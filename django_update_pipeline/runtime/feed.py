"""Connections that are told the same: what they share, and who of them waits for news. On the pipeline's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from ..core.session import ClassicSession
from ..core.sync_stream import SyncStream
from .direct_write import text_frames

if TYPE_CHECKING:
    from .connection import Connection

#: What a connection is told from: one session a protocol, each with the same methods for its writer.
Session = ClassicSession | SyncStream


class Feed:
    """The connections that are told the same: their shared frames, and those that wait for news.

    Args:
        key: what they have in common, in their protocol's words.
        channels: whose news concern them.
    """

    __slots__ = ("_head", "_live", "_place", "_wires", "channels", "key", "members", "waiting")

    def __init__(self, key: Hashable, channels: tuple[str, ...]) -> None:
        self.key = key
        self.channels = frozenset(channels)
        self.members = 0
        self.waiting: dict[Connection, asyncio.Future[None]] = {}
        self._head = -1
        self._place: object = None
        self._live: Any = None
        self._wires: dict[bool, bytes] = {}

    def live(self, session: Session, head: int) -> Any:
        """What brings a session to the head, the same object for all that were where it is."""
        place = session.place
        if head != self._head or place != self._place:
            self._place, self._head = place, head
            live = session.live()
            if live is not self._live:
                self._live = live
                self._wires = {}
        return self._live

    def wire(self, asks: bool) -> bytes:
        """What `live` returned last, as WebSocket frames; the last one asks for an acknowledgement if `asks`."""
        wire = self._wires.get(asks)
        if wire is None:
            wire = self._wires[asks] = text_frames(self._live.form(asks))
        return wire

    def serve(self) -> None:
        """There is news: whoever waits is handed it at once where that can be done, else its writer has a look."""
        waiting, self.waiting = self.waiting, {}
        for connection, wake in waiting.items():
            try:
                if connection.serve():
                    self.waiting[connection] = wake
                    continue
            except Exception as error:  # the connection's own: its writer ends of it, and nobody else
                if not wake.done():
                    wake.set_exception(error)
                continue
            if not wake.done():
                wake.set_result(None)
