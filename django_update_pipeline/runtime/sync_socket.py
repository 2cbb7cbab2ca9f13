"""The sync protocol's socket: views from a position on, acknowledgements, and the classic frames besides."""

from __future__ import annotations

from typing import Any

from ..core.codes import CLIENT_SILENT
from ..core.session import SYSTEM_CHANNEL
from ..core.sync_stream import SyncStream
from ..core.sync_wire import SUBPROTOCOL, SYNC_READERS, Ack, SyncAction, SyncSubscribe, starting_at
from ..core.wire import FrameError, Readers
from .feed import Session
from .socket import ClassicSocket
from .viewing import Viewing


class SyncSocket(Viewing, ClassicSocket):
    """`update-pipeline.sync.v1`. It is on no channel but the system's until it asks for some."""

    subprotocol = SUBPROTOCOL
    readers: Readers = SYNC_READERS
    hidden: tuple[str, ...] = ()

    async def prepare(self) -> None:
        """Nothing: what it wants to see it says itself."""

    def make_session(self) -> Session | None:
        return self.pipeline.websocket_manager.sync_session()

    @property
    def _session(self) -> SyncStream:
        session = self.connection.session
        assert isinstance(session, SyncStream)
        return session

    async def handle(self, frame: Any) -> None:
        if isinstance(frame, Ack):
            self._acknowledge(frame)
            return
        if self._session.credit.is_overdue(self.pipeline.clock.monotonic()):
            self.connection.close(CLIENT_SILENT)  # it talks, and does not say what it has applied
        elif isinstance(frame, SyncSubscribe):
            await self._subscribe_views(frame)
        elif isinstance(frame, SyncAction):
            await self._act(frame.action, frame.request_id)
        else:
            await super().handle(frame)

    async def _subscribe_views(self, frame: SyncSubscribe) -> None:
        watch = self.watch
        mark = 0 if watch is None else watch.mark()
        of_all = [view for view in frame.since if view.channel == SYSTEM_CHANNEL]
        allowed, refused, too_many = await self._judge(view for view in frame.since if view not in of_all)
        allowed |= {view: view for view in of_all}
        self.wants({view.channel: view for view in allowed})
        self._session.unsubscribe(refused)  # of a channel that it is on, too: it asked for something else
        if allowed:
            at = frame.since
            self._session.subscribe({view: starting_at(view, at[wanted]) for wanted, view in allowed.items()})
        confirmed = tuple(view.channel for view in frame.since if view in allowed)
        self._confirm(confirmed, (*frame.malformed, *refused), too_many, mark)

    def _acknowledge(self, ack: Ack) -> None:
        if ack.offset > self.pipeline.store.head:
            raise FrameError(
                "invalid_field", f"offset {ack.offset} of an ack is above the log's head: send a frame's `to`"
            )
        clock, manager = self.pipeline.clock, self.pipeline.websocket_manager
        now = clock.monotonic()
        asked = self._session.credit.acknowledged(ack.channel, ack.offset, now)
        if asked is None:
            return  # late, or of a frame that did not ask: it changes nothing
        manager.ages.heard(asked, ack.age_ms, now, clock.time())
        if ack.repaired and (repaired := self._session.repaired(ack.repaired)):
            manager.divergence_repaired(self.connection, ack.channel, ack.offset, repaired)
        self.connection.has_room()
