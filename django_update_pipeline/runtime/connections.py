"""The registry of connections: who is there, whose news wake whom, and how all of them end.

How one is written to is its own affair (`runtime.connection`).

Everything here belongs to the pipeline's loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Hashable

from ..core.admission import Admission
from ..core.ages import Ages
from ..core.codes import SERVER_STOPPING
from ..core.config import ConnectionConfig
from ..core.credit import FIRST_SHARE, Credit
from ..core.names import error_text, one_line
from ..core.ports import Clock
from ..core.repeats import Repeats
from ..core.session import SYSTEM_CHANNEL, ClassicRenderer, ClassicSession
from ..core.sync_live import SyncRenderer
from ..core.sync_stream import SyncStream
from ..core.view import View
from .connection import Close, Connection, Send
from .feed import Feed, Session
from .stuck import StuckWriters
from .turns import Turns

logger = logging.getLogger(__name__)


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
