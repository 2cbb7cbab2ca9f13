"""One connection: what waits to be written to its socket, and the task that writes it.

One task per connection writes to its socket, so frames keep their order and a socket that takes no more stops only
its own task; while it waits for news, a flush writes them in its place (`Connection.serve`, ADR 24). What a stopped
one misses is no queue: it is the store's changes since its position, read when it can write again.

Everything here belongs to the pipeline's loop.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..core.codes import INTERNAL_ERROR, TOO_SLOW, CloseCode
from ..core.session import SYSTEM_CHANNEL, TooFarBehind
from .direct_write import MAX_BYTES, direct_writer
from .feed import Session
from .turns import SHARE_S

if TYPE_CHECKING:
    from .connections import WebSocketManager

logger = logging.getLogger(__name__)

#: Takes an ASGI message `{"type": "websocket.send", "text": ...}`, as a server's own `send` does.
Send = Callable[[dict[str, Any]], Awaitable[Any]]
Close = Callable[[CloseCode], Awaitable[Any]]

#: What a connection may be, in the order in which they are told.
KINDS = ("classic", "sync", "stream", "admin")

#: After so many characters a writer that is catching up lets the others have a turn, if not before (`turns`).
TURN_CHARS = 64 * 1024

#: More unsent answers than this and the connection's frames are read no further until they are written.
MAX_REPLIES = 64


class Connection:
    """One socket: its session, its answers that wait to be written, and its writer's task."""

    __slots__ = (
        "_close",
        "_closing",
        "_direct",
        "_drained",
        "_hub",
        "_send",
        "client",
        "_stalled",
        "connected_at",
        "connection_id",
        "feed",
        "live",
        "replies",
        "session",
        "task",
        "written",
    )

    def __init__(
        self,
        hub: WebSocketManager,
        connection_id: str,
        send: Send,
        close: Close | None,
        session: Session | None,
    ) -> None:
        self._hub = hub
        self._send = send
        self._close = close
        self._closing: CloseCode | None = None
        self._direct = direct_writer(send) if hub.config.direct_writes else None
        self._drained: asyncio.Event | None = None
        self._stalled: asyncio.Future[None] | None = None  # waits for room; news do not concern it
        self.connection_id = connection_id
        self.session = session
        self.feed = hub.feed((), ())
        self.replies: deque[str] = deque()
        self.live: Callable[[], str | None] | None = None
        """Where the writer of an admin socket that watches takes its next frame from, when it can write one."""
        self.client: Any = None
        """Who is there (`runtime.socket.SocketClient`), where a door let it in; its user may be replaced."""
        self.connected_at = hub.clock.time()
        self.written = 0  # frames its socket took
        self.task: asyncio.Task[None] | None = None

    @property
    def kind(self) -> str:
        """Its session's protocol; one without a session is an operator's."""
        return "admin" if self.session is None else self.session.protocol

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels it is on, the system's own left out."""
        if self.session is None:
            return ()
        return tuple(name for name in self.session.channels if name != SYSTEM_CHANNEL)

    def reply(self, text: str) -> None:
        """Has an answer written, before any update that is not yet being written. None after `close`."""
        if self._closing is None:
            self.replies.append(text)
            self.wake()

    def close(self, code: CloseCode) -> None:
        """Has the socket closed once its answers are out, or after `close_timeout_s` where it takes none."""
        if self._closing is None:
            self._closing = code
            self.wake()
            if self.task is not None:
                self.task.get_loop().call_later(self._hub.config.close_timeout_s, self._hurry)

    def end(self, code: CloseCode) -> None:
        """As `close`, but nothing more is sent: not even an answer that waits."""
        self.replies.clear()
        self.close(code)

    def _hurry(self) -> None:
        if self.task is not None and not self.task.done() and self.is_registered:
            self.task.cancel()

    @property
    def is_closing(self) -> bool:
        return self._closing is not None

    def wake(self) -> None:
        """Tells the writer that there may be something to write."""
        wake = self.feed.waiting.pop(self, None) or self._stalled
        if wake is not None and not wake.done():
            wake.set_result(None)

    def has_room(self) -> bool:
        """An acknowledgement came: a writer that waited for it goes on. Whether one did."""
        stalled = self._stalled
        if stalled is None or stalled.done():
            return False
        stalled.set_result(None)
        return True

    @property
    def is_idle(self) -> bool:
        """Whether its writer waits for news, or for its client's acknowledgement; else it waits for its socket."""
        return self in self.feed.waiting or self._stalled is not None

    @property
    def is_registered(self) -> bool:
        """Whether it is still in the registry. Its reader may have a last frame in hand when it is not."""
        return self._hub.connections.get(self.connection_id) is self

    def follow(self) -> None:
        """The session's channels changed: from now on their news wake the writer."""
        if not self.is_registered:
            return  # it left its feed when it was forgotten; leaving again would be at the others' cost
        self.wake()
        hub, old = self._hub, self.feed
        self.feed = hub.feed(*((), ()) if self.session is None else (self.session.key, self.session.channels))
        self.feed.members += 1
        hub.leave(old)

    async def drained(self) -> None:
        """Waits while too many answers wait to be written: who floods is read more slowly."""
        while len(self.replies) > MAX_REPLIES and self.is_registered:
            if self._drained is None:
                self._drained = asyncio.Event()
            self._drained.clear()
            await self._drained.wait()

    def start(self) -> None:
        """Starts the writer."""
        self.task = asyncio.get_running_loop().create_task(self._write(), name="update-pipeline-writer")

    async def _write(self) -> None:
        """The writer: answers first, then what the session has to tell, until the connection closes."""
        code: CloseCode | None = None
        try:
            code = await self._write_until_closed()
        except asyncio.CancelledError:
            if self._closing is None:
                raise
            # A frame was in its way; the socket must not stay open with nobody behind it.
            code = self._closing
        except TooFarBehind:
            code = TOO_SLOW
        except Exception as error:  # the connection's boundary: a socket's failure is its own
            self._hub.send_failed(self, error)
            code = INTERNAL_ERROR  # left open, it would show what it was sent last for ever
        finally:
            self._hub.forget(self)
            if self._drained is not None:
                self._drained.set()
        if code is not None and self._close is not None:
            try:
                async with asyncio.timeout(self._hub.config.close_timeout_s):
                    await self._close(code)
            except Exception as error:  # it is gone already, or does not answer: either way we are done
                logger.debug("closing connection %s: %r", self.connection_id, error)

    async def _write_until_closed(self) -> CloseCode:
        hub, send, session, replies = self._hub, self._send, self.session, self.replies
        store = hub.renderer.store
        create_future = asyncio.get_running_loop().create_future
        while True:
            while replies:
                await send({"type": "websocket.send", "text": replies.popleft()})
                hub.frames_sent += 1
                self.written += 1
            if self._drained is not None:
                self._drained.set()
            if self._closing is not None:
                return self._closing
            if session is not None:
                if not session.has_room():
                    self._stalled = create_future()
                    await self._stalled
                    self._stalled = None
                    continue
                if session.catch_up is not None:
                    await self._catch_up(session)
                    continue
                head = store.head
                if session.position != head:
                    live = self.feed.live(session, head)
                    if live is None:
                        session.fall_behind()
                        continue
                    if self._write_at_once(session, live):
                        continue
                    written, feed = 0, self.feed
                    for text in session.texts(live):
                        await send({"type": "websocket.send", "text": text})
                        written += 1
                        self.written += 1
                        if (
                            store.head != head
                            or replies
                            or self._closing is not None
                            or self.feed is not feed
                        ):
                            break  # what is left of these frames may be stale by now, or hidden by a hook
                    session.sent(live, written)
                    hub.frames_sent += written
                    # Where the next frame was too large for the room that is left, there is more to tell.
                    if written or session.catch_up is not None:
                        continue
            elif self.live is not None and (report := self.live()) is not None:
                await send({"type": "websocket.send", "text": report})
                self.written += 1
                continue
            wake = self.feed.waiting[self] = create_future()
            await wake

    def serve(self) -> bool:
        """Writes the news from outside the writer's task, which waits for them; False: it has to be woken for them.

        A task's turn and the future it waits with next cost more than the write itself.
        """
        session = self.session
        if session is None or self._direct is None or self.replies or self._closing is not None:
            return False
        if session.catch_up is not None:
            return False
        head = self._hub.renderer.store.head
        if session.position == head:
            return True
        live = self.feed.live(session, head)
        # Of very much news these are the first; the writer goes on.
        return live is not None and self._write_at_once(session, live) and session.position == head

    def _write_at_once(self, session: Session, live: Any) -> bool:
        """Writes all shared frames in one piece, and notes them, if they fit one and the socket takes it."""
        direct, count = self._direct, live.count
        if direct is None or not count or live.size > MAX_BYTES or not direct.is_open():
            return False
        asks = session.at_once(live)
        if asks is None:
            return False
        direct.write(self.feed.wire(asks))
        self.written += count
        self._hub.frames_sent += count
        session.sent(live, count)
        return True

    async def _catch_up(self, session: Session) -> None:
        """Goes through the store frame by frame, each read just before it is written."""
        hub = self._hub
        monotonic, turns = hub.clock.monotonic, hub.turns
        while True:
            await turns.take()
            share_s = 0.0
            try:
                while share_s <= SHARE_S:
                    if self.replies or self._closing is not None or not session.has_room():
                        return
                    began = monotonic()
                    text = session.next_text()
                    # Little may be told of much that is looked at, and much of little.
                    share_s += max(monotonic() - began, SHARE_S * len(text or "") / TURN_CHARS)
                    if text is None:
                        return
                    await self._send({"type": "websocket.send", "text": text})
                    hub.frames_sent += 1
                    self.written += 1
            finally:
                turns.spent(share_s)


def sender(ws: Any) -> Send:
    """The `send(text)` of any object that has one, sync or async."""

    async def send(message: dict[str, Any]) -> None:
        result = ws.send(message["text"])
        if inspect.isawaitable(result):
            await result

    return send


def closer(ws: Any) -> Close | None:
    """The `close()` of any object that has one; it is called without a code, which not every `close` takes."""
    if not hasattr(ws, "close"):
        return None

    async def close(code: CloseCode) -> None:
        result = ws.close()
        if inspect.isawaitable(result):
            await result

    return close
