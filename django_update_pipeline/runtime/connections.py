"""The registry of connections, and each one's writer.

One task per connection writes to its socket, so frames keep their order and a socket that takes no more stops only
its own task; while it waits for news, a flush writes them in its place (`Connection.serve`, ADR 24). What a stopped
one misses is no queue: it is the store's changes since its position, read when it can write again.

Everything here belongs to the pipeline's loop.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from ..core.admission import Admission
from ..core.ages import Ages
from ..core.codes import INTERNAL_ERROR, SERVER_STOPPING, TOO_SLOW, CloseCode
from ..core.config import ConnectionConfig
from ..core.credit import FIRST_SHARE, Credit
from ..core.names import error_text, one_line
from ..core.ports import Clock
from ..core.repeats import Repeats
from ..core.session import SYSTEM_CHANNEL, ClassicRenderer, ClassicSession, TooFarBehind
from ..core.sync_live import SyncRenderer
from ..core.sync_stream import SyncStream
from ..core.view import View
from .direct_write import MAX_BYTES, direct_writer
from .feed import Feed, Session
from .stuck import StuckWriters
from .turns import SHARE_S, Turns

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


class WebSocketManager:
    """All connections of this process. `connections` maps connection ids to them."""

    def __init__(self, renderer: ClassicRenderer, config: ConnectionConfig, clock: Clock) -> None:
        self.renderer = renderer
        self.config = config
        self.clock = clock
        self.connections: dict[str, Connection] = {}
        self._feeds: dict[Hashable, Feed] = {}
        self._due: dict[Feed, None] = {}  # feeds with news that nobody of them was handed yet
        self.sync_renderer = SyncRenderer(renderer.store, clock.time)
        self.admission = Admission(config)
        self.refusals = Repeats()  # handshakes refused, by rule: a small closed set
        self.turns = Turns()
        self.stuck = StuckWriters(self.connections, config.stuck_timeout_s, clock.monotonic)
        self.send_failures = 0
        self.opened_count = 0
        self.closed_count = 0
        self.frames_sent = 0
        self.complaints = Repeats()  # what went wrong in frames
        self.refused: dict[str, int] = {}  # by the limit that was reached, its name in the settings
        self.ages = Ages()
        self.divergences = Repeats()
        self.on_opened: Callable[[Connection], None] = lambda connection: None
        self.on_closed: Callable[[Connection], None] = lambda connection: None

    def get_connection_count(self) -> int:
        """How many connections there are."""
        return len(self.connections)

    def feed(self, key: Hashable, channels: tuple[str, ...]) -> Feed:
        """The feed of a session's key, made at first use."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(key, channels)
        return feed

    def leave(self, feed: Feed) -> None:
        """A connection follows a feed no more; an empty one is let go."""
        feed.members -= 1
        if feed.members <= 0 and self._feeds.get(feed.key) is feed:
            del self._feeds[feed.key]

    def new_connection_id(self) -> str:
        """128 random bits."""
        return f"ws_{secrets.token_hex(16)}"

    def open(
        self,
        connection_id: str,
        send: Send,
        close: Close | None = None,
        *,
        session: Session | None,
        greeting: str | None = None,
    ) -> Connection:
        """Registers a connection and starts its writer.

        Args:
            session: where it stands, in its protocol's way; None for a socket that gets no updates.
            greeting: its first frame.
        """
        connection = Connection(self, connection_id, send, close, session)
        if greeting is not None:
            connection.replies.append(greeting)
        connection.feed.members += 1
        self.connections[connection_id] = connection
        self.opened_count += 1
        connection.follow()
        connection.start()
        self.stuck.watch()
        self.on_opened(connection)
        return connection

    def classic_session(self, channels: tuple[str, ...]) -> ClassicSession:
        """A session of the classic protocol that begins with these channels."""
        return ClassicSession(self.renderer, (*channels, SYSTEM_CHANNEL), self.clock.time)

    def sync_session(self) -> SyncStream:
        """A session of the sync protocol; it is on the system's channel, from now on."""
        credit = Credit(self.config.window_bytes, self.config.window_frames, FIRST_SHARE)
        session = SyncStream(self.sync_renderer, credit, self.clock.monotonic)
        session.subscribe({View(SYSTEM_CHANNEL): None})
        return session

    def forget(self, connection: Connection) -> None:
        """Takes a connection off the registry; its writer ends by itself or is cancelled by the caller."""
        if self.connections.get(connection.connection_id) is connection:
            del self.connections[connection.connection_id]
            connection.feed.waiting.pop(connection, None)
            self.leave(connection.feed)
            self.closed_count += 1
            self.on_closed(connection)

    async def drop(self, connection: Connection) -> None:
        """Ends a connection whose socket is gone."""
        self.forget(connection)
        task = connection.task
        if task is not None and task is not asyncio.current_task() and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=self.config.close_timeout_s)

    def wake(self, channels: set[str]) -> None:
        """Some channels changed: at the loop's next turn, whoever waits for their news is handed them."""
        due = [f for f in self._feeds.values() if f.waiting and not f.channels.isdisjoint(channels)]
        if due:
            if not self._due:
                asyncio.get_running_loop().call_soon(self._serve)
            self._due.update(dict.fromkeys(due))

    def _serve(self) -> None:
        due, self._due = self._due, {}
        for feed in due:
            feed.serve()

    def behind_count(self) -> int:
        """How many connections have been told less than the store knows. Any thread.

        Who waits for news has been told everything, so that a quiet hour's answer costs nothing.
        """
        feeds = list(self._feeds.values())
        if not self._due and all(len(feed.waiting) >= feed.members for feed in feeds):
            return 0
        return sum(
            1 for c in list(self.connections.values()) if c.session is not None and c.session.has_news()
        )

    def count_refusal(self, limit: str) -> None:
        """A connection was refused because of a limit, given by its name in the settings. On the loop."""
        self.refused[limit] = self.refused.get(limit, 0) + 1

    def send_failed(self, connection: Connection, error: Exception) -> None:
        """A socket failed: its own affair, counted; never the circuit breaker's."""
        self.send_failures += 1
        logger.info("connection %s is gone: %s", one_line(connection.connection_id, 100), error_text(error))

    def divergence_repaired(self, connection: Connection, channel: str, offset: int, count: int) -> None:
        """A client's self-check found that it did not show what the store holds, and repaired it. On the loop."""
        self.ages.repaired(count)
        if often := self.divergences.add():
            logger.warning(
                "connection %s repaired %d agents of channel %s at offset %d, which should never differ (%d such "
                "reports so far)",
                one_line(connection.connection_id, 100),
                count,
                channel,
                offset,
                often,
            )

    async def caught_up(self, timeout_s: float) -> None:
        """Waits until every connection that takes frames has been told everything, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                # Asked, not told: it happens once, at the end, and telling would cost every writer.
                while self.behind_count() or any(c.replies for c in self.connections.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pass

    async def close_all(self) -> None:
        """Closes every connection, bounded by `close_timeout_s`; also those that are opened meanwhile."""
        for _ in range(3):
            if not self.connections:
                break
            await self._close_those_there(list(self.connections.values()))
        for connection in self.connections.values():  # whoever still opens some is not waited for
            if connection.task is not None:
                connection.task.cancel()
        self.forget_all()

    async def _close_those_there(self, connections: list[Connection]) -> None:
        tasks = []
        for connection in connections:
            connection.close(SERVER_STOPPING)
            if connection.task is not None:
                tasks.append(connection.task)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.config.close_timeout_s)
            for task in late:
                task.cancel()
            if late:  # each is given `close_timeout_s` of its own to close its socket
                await asyncio.wait(late, timeout=2 * self.config.close_timeout_s)
        for connection in connections:
            self.forget(connection)

    def forget_other_loops(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lets go of connections whose writers ran on a loop that is not this one."""
        for connection in list(self.connections.values()):
            if connection.task is not None and connection.task.get_loop() is not loop:
                self.forget(connection)
        if self._due:  # the turn in which they were to be served may have been the other loop's
            loop.call_soon(self._serve)

    def forget_all(self) -> None:
        """Lets go of everything, without a word to the sockets: their loop is gone, or they were closed."""
        self.closed_count += len(self.connections)
        self.stuck.stop()
        self.connections.clear()
        self._feeds.clear()
        self._due.clear()
        self.admission = Admission(self.config)  # slots of what is gone are given back to the one before


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
